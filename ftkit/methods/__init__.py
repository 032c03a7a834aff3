"""The ways to adapt a pretrained model, by name."""

from __future__ import annotations

from typing import Any

from ftkit.errors import FtkitError, UnknownNameError
from ftkit.methods.base import Method, ParameterCount, Trainable
from ftkit.methods.freezing import BitFit, Full, LinearProbe, NormTuning, Partial, Scratch, Surgical
from ftkit.methods.parameter_efficient import IA3, Adapter, DoRA, LoRA, Prefix, Prompt
from ftkit.methods.strategies import L2SP, LPFT, Discriminative, Gradual, Replay

__all__ = [
    "IA3",
    "L2SP",
    "LPFT",
    "METHODS",
    "USUAL_METHODS",
    "Adapter",
    "BitFit",
    "Discriminative",
    "DoRA",
    "Full",
    "Gradual",
    "LinearProbe",
    "LoRA",
    "Method",
    "NormTuning",
    "ParameterCount",
    "Partial",
    "Prefix",
    "Prompt",
    "Replay",
    "Scratch",
    "Surgical",
    "Trainable",
    "as_method",
]

USUAL_METHODS: tuple[str, ...] = ("scratch", "linear-probe", "partial", "full", "lora", "adapter", "prompt")
"""The methods that a comparison takes unless told otherwise: one of each kind."""

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Scratch,
        LinearProbe,
        Partial,
        Surgical,
        BitFit,
        NormTuning,
        Full,
        Gradual,
        Discriminative,
        LPFT,
        L2SP,
        Replay,
        LoRA,
        DoRA,
        IA3,
        Adapter,
        Prompt,
        Prefix,
    )
}
"""Every method, in the order in which tables and figures show them."""


def as_method(method: str | Method, **settings: Any) -> Method:
    """Turn a method's name into the method with its default settings.

    Parameters
    ----------
    method
        A name of `METHODS`, or a method, which is returned as it is.
    **settings
        Settings that differ from the defaults; only together with a name.

    Raises
    ------
    UnknownNameError
        If there is no method of that name.
    FtkitError
        If the method has no such setting.

    Examples
    --------
    >>> as_method("lora", rank=4)
    LoRA(rank=4, alpha=16, dropout=0.0, blocks=None)
    """
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    try:
        return METHODS[method](**settings)
    except TypeError as error:
        raise FtkitError(f"method {method!r} can't be set up with {settings}: {error}") from None
