"""How near a training step comes to the machine's limit: the rate of a large matrix product."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from measuring import fresh_activations, load, warm_up
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, bmm_flop, conv_flop_count, mm_flop

from ftkit.training.callbacks import Callback

if TYPE_CHECKING:
    from ftkit.training.history import Step
    from ftkit.training.loop import Training

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
SIZES = (1024, 2048)
ROUNDS = 6
WARM_UP = 2
"""Steps that are not counted: the first ones allocate memory and choose kernels."""
SHOWN_OPERATIONS = 16
TEST_ITEMS = 40


def matmul_rate(dtype: torch.dtype) -> float:
    """Best rate of a square matrix product, in operations a second, a multiplication and an addition being two."""
    squares = [torch.randn(size, size).to(dtype) for size in SIZES]
    return max(2 * len(square) ** 3 / _best_seconds(torch.mm, square, square) for square in squares)


def _best_seconds(call: Callable[..., Tensor], *operands: Tensor) -> float:
    """Shortest time of several calls."""
    best = math.inf
    for _ in range(ROUNDS):
        started = time.perf_counter()
        call(*operands)
        best = min(best, time.perf_counter() - started)
    return best


def step_against_limit(task: str, method: str, *, limit: int, seed: int = 0) -> dict[str, Any]:
    """Count the operations of ftkit's training steps, time the same steps, and relate both to the matrix product.

    The same training is made three times, with the same batches: counted, timed, profiled. A step is all that happens
    from one update of the weights to the next, the making of the batch included.

    Parameters
    ----------
    task, method
        Names.
    limit
        Training examples of the one epoch; at least four batches.
    seed
        Seed of the order of the examples.
    """
    import ftkit

    loaded = load(task, limit, TEST_ITEMS)

    def train(callback: Callback) -> Any:
        return ftkit.fine_tune(loaded, method, epochs=1, seed=seed, callbacks=[callback], progress=False)

    warm_up(loaded, method)  # a precision that is probed while operations are counted would be the wrong one
    with fresh_activations():
        counting = Counting()
        with counting.counter, counting.products:
            train(counting)
        rates = {name: matmul_rate(dtype) for name, dtype in DTYPES.items()}
        timing = Timing()
        run = train(timing)
        # The rate is taken before and after, since a shared machine's limit moves too.
        rates = {name: max(rate, matmul_rate(DTYPES[name])) for name, rate in rates.items()}
        profiling = Profiling()
        train(profiling)
    operations, seconds = counting.total, timing.total
    product_operations, product_seconds = by_themselves(counting.products.met)
    precision = run.spec.precision
    return {
        "operations": operations,
        "seconds": seconds,
        "steps": len(timing.marks) - WARM_UP,
        "rate": operations / seconds,
        "precision": precision,
        "matmul_rates": rates,
        "product_operations": product_operations,
        "product_seconds": product_seconds,
        "share": operations / seconds / rates.get(precision, rates["float32"]),
        "profile": profiling.shares(),
    }


class Counting(Callback):
    """Operations counted up to the end of every step, and the matrix products after the warm-up."""

    def __init__(self) -> None:
        self.counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
        self.products = Products()
        self.marks: list[int] = []

    def on_step(self, training: Training, step: Step) -> None:
        self.marks.append(self.counter.get_total_flops())
        self.products.listening = WARM_UP <= step.step < training.total_steps

    @property
    def total(self) -> int:
        """Operations of all steps after the warm-up."""
        return self.marks[-1] - self.marks[WARM_UP - 1]


class Timing(Callback):
    """The moment at which every step ended."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_step(self, training: Training, step: Step) -> None:
        self.marks.append(time.perf_counter())

    @property
    def total(self) -> float:
        """Seconds of all steps after the warm-up."""
        return self.marks[-1] - self.marks[WARM_UP - 1]


class Profiling(Callback):
    """Where the time of the steps goes, by operation."""

    def __init__(self) -> None:
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        self.running = False

    def on_step(self, training: Training, step: Step) -> None:
        if step.step == WARM_UP:
            self.profiler.start()
            self.running = True
        elif self.running and step.step == training.total_steps:
            self.profiler.stop()
            self.running = False

    def shares(self) -> dict[str, float]:
        """Share of the time in each of the most costly operations."""
        events = self.profiler.key_averages()
        total = sum(event.self_cpu_time_total for event in events)
        costly = sorted(events, key=lambda event: -event.self_cpu_time_total)[:SHOWN_OPERATIONS]
        return {event.key: event.self_cpu_time_total / total for event in costly}


class Operand(NamedTuple):
    """What decides how fast a product is computed with a tensor, apart from where it lies."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Operand:
        """Describe a tensor."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    def drawn(self) -> Tensor:
        """Return such a tensor of random numbers."""
        reach = 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return torch.randn(reach).to(self.dtype).as_strided(self.shape, self.stride)


class Product(NamedTuple):
    """A matrix product: torch's operation and its operands, of which the last two are multiplied."""

    operation: Any
    operands: tuple[Operand, ...]

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        left, right = (operand.shape for operand in self.operands[-2:])
        return int(mm_flop(left, right) if len(left) == 2 else bmm_flop(left, right))


class Products(TorchDispatchMode):
    """Counts the matrix products that are computed while it listens."""

    def __init__(self) -> None:
        super().__init__()
        self.met: Counter[Product] = Counter()
        self.listening = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.listening and func in MATRIX_PRODUCTS:
            self.met[Product(func, tuple(Operand.of(each) for each in args))] += 1
        return func(*args, **(kwargs or {}))


def by_themselves(products: Mapping[Product, int]) -> tuple[int, float]:
    """Repeat products outside of a step, operands at hand; return all their operations, and seconds at their best."""
    operations, seconds = 0, 0.0
    for product, count in products.items():
        operations += count * product.operations
        seconds += count * _best_seconds(product.operation, *(operand.drawn() for operand in product.operands))
    return operations, seconds


def _convolution_backward(gradient: Any, pixels: Any, weight: Any, *rest: Any, **__: Any) -> int:
    """Both gradients of a convolution cost what the convolution cost, whatever its groups."""
    *_, transposed, _output_padding, _groups, wanted = rest
    return conv_flop_count(pixels, weight, gradient, transposed=transposed) * (wanted[0] + wanted[1])


FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}
"""torch's own formula for the gradient of a convolution's weight leaves out the groups: a depthwise one would count for
every pair of channels."""

MATRIX_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)
"""Products that the work of text and speech lies in."""
