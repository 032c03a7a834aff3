"""How near a training step comes to the machine's limit: the rate of a large matrix product."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from measuring import fresh_activations, load, warm_up
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

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
    best = 0.0
    for size in SIZES:
        left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        for _ in range(ROUNDS):
            started = time.perf_counter()
            torch.mm(left, right)
            best = max(best, 2 * size**3 / (time.perf_counter() - started))
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
        with counting.counter:
            train(counting)
        rates = {name: matmul_rate(dtype) for name, dtype in DTYPES.items()}
        timing = Timing()
        run = train(timing)
        # The rate is taken before and after, since a shared machine's limit moves too.
        rates = {name: max(rate, matmul_rate(DTYPES[name])) for name, rate in rates.items()}
        profiling = Profiling()
        train(profiling)
    operations, seconds = counting.total, timing.total
    precision = run.spec.precision
    return {
        "operations": operations,
        "seconds": seconds,
        "steps": len(timing.marks) - WARM_UP,
        "rate": operations / seconds,
        "precision": precision,
        "matmul_rates": rates,
        "share": operations / seconds / rates.get(precision, rates["float32"]),
        "profile": profiling.shares(),
    }


class Counting(Callback):
    """Operations counted up to the end of every step."""

    def __init__(self) -> None:
        self.counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
        self.marks: list[int] = []

    def on_step(self, training: Training, step: Step) -> None:
        self.marks.append(self.counter.get_total_flops())

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


def _convolution_backward(gradient: Any, pixels: Any, weight: Any, *rest: Any, **__: Any) -> int:
    """Both gradients of a convolution cost what the convolution cost, whatever its groups."""
    *_, transposed, _output_padding, _groups, wanted = rest
    return conv_flop_count(pixels, weight, gradient, transposed=transposed) * (wanted[0] + wanted[1])


FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}
"""torch's own formula for the gradient of a convolution's weight leaves out the groups: a depthwise one would count for
every pair of channels."""
