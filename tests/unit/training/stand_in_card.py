"""A stand-in for a GPU: tensors on a device of their own, which the processor computes.

Where tensors of two devices meet, that is an error, as on a GPU, and autocast casts what it casts there; the numbers
are the processor's. torch must know the device, so it is called ``meta``, for which nothing in ftkit asks. A GPU's own
kernels, fp16 and its scaling, pinned memory and TF32 are what it can't show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("meta")
MAY_MEET = {
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put_.default,
}
"""What takes tensors of two devices on a GPU, too: copies, and places that are told by the processor."""
PRODUCTS = {"linear", "matmul", "__matmul__", "mm", "bmm", "addmm", "baddbmm", "conv1d", "conv2d"}
LOWER = {*PRODUCTS, "scaled_dot_product_attention"}
FULL = {"layer_norm", "softmax", "log_softmax", "cross_entropy", "nll_loss", "sum", "norm", "exp", "pow", "cumsum"}
"""What autocast computes in its lower precision on a GPU, and what in float32; as far as our models need them."""


class OnCard(Tensor):
    """A tensor that says it lies on the card; ``inner`` is what it holds."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnCard:
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CARD,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Moves(TorchDispatchMode):
    """Sees what makes tensors on the card, of none that lies there yet."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    on_card = {id(each.inner): each for each in tensors if isinstance(each, OnCard)}
    elsewhere = [each for each in tensors if not isinstance(each, OnCard) and each.dim()]  # a number may lie anywhere
    if on_card and elsewhere and function not in MAY_MEET:
        raise RuntimeError(f"{function}: {len(elsewhere)} of the tensors are on the processor, others on the card")
    wanted = kwargs.get("device")
    result = function(
        *tree_map(_inner, args),
        **tree_map(_inner, {**kwargs, **({} if wanted is None else {"device": torch.device("cpu")})}),
    )
    stays = torch.device(wanted) == CARD if wanted is not None else bool(on_card)
    return tree_map(lambda each: _on_card(each, on_card), result) if stays else result


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnCard) else value


def _on_card(value: Any, known: dict[int, OnCard]) -> Any:
    """What was computed, on the card; what was changed in place is the same tensor as before."""
    if not isinstance(value, Tensor):
        return value
    return known[id(value)] if id(value) in known else OnCard(value)


class _Casts(TorchFunctionMode):
    """Autocast on the card: casts what each function is given, by the type on top of ``types``; None casts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype | None] = [None]

    @property
    def on(self) -> bool:
        """Whether anything is cast."""
        return self.types[-1] is not None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        lower, name = self.types[-1], getattr(function, "__name__", "")
        kwargs = kwargs or {}
        if lower is not None and name in LOWER | FULL:
            wanted = lower if name in LOWER else torch.float32
            args, kwargs = tree_map(lambda each: _cast(each, wanted), (args, kwargs))
        result = function(*args, **kwargs)
        if function == Tensor.data.__set__ and isinstance(args[0], OnCard):
            args[0].inner = args[1].inner  # torch exchanges only what a tensor says of itself
        return result


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, OnCard) and value.is_floating_point() else value


def _autocast(casts: _Casts) -> Callable[..., Any]:
    """``torch.autocast`` with the card among its devices."""
    usual = torch.autocast

    class Autocast(ContextDecorator):
        def __init__(self, dtype: torch.dtype | None) -> None:
            self.dtype = dtype

        def __enter__(self) -> None:
            casts.types.append(self.dtype)

        def __exit__(self, *error: object) -> None:
            casts.types.pop()

    def make(device_type: str, dtype: torch.dtype | None = None, enabled: bool = True, **options: Any) -> Any:
        if device_type == CARD.type:
            return Autocast(dtype if enabled else None)
        return usual(device_type, dtype=dtype, enabled=enabled, **options)

    return make


@contextmanager
def stand_in_card() -> Iterator[None]:
    """Let trainings meanwhile go to the card, as they do where there is a GPU."""
    casts = _Casts()
    enabled, dtype_of = torch.is_autocast_enabled, torch.get_autocast_dtype

    def fused() -> list[str]:
        return ["cpu", CARD.type]

    swapped = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        for name, stand_in in {
            "torch.autocast": _autocast(casts),
            "torch.is_autocast_enabled": lambda device: casts.on if device == CARD.type else enabled(device),
            "torch.get_autocast_dtype": lambda device: casts.types[-1] if device == CARD.type else dtype_of(device),
            "torch.inference_mode": torch.no_grad,  # torch lets no tensor of ours take part in the former
            "torch.optim.optimizer._get_fused_kernels_supported_devices": fused,
            "torch.utils._foreach_utils._get_fused_kernels_supported_devices": fused,
        }.items():
            stack.enter_context(patch(name, stand_in))
        stack.enter_context(patch.object(PartialState, "default_device", CARD))
        for each in (_Moves(), casts):
            stack.enter_context(each)
        # weights that move stay the same objects, as they do on their way to a GPU
        torch.__future__.set_swap_module_params_on_conversion(True)
        _forget_device()
        try:
            yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swapped)
            _forget_device()


def _forget_device() -> None:
    AcceleratorState._reset_state(True)
    PartialState._reset_state()
