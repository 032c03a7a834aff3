"""The ways to adapt a pretrained model, by name."""

from __future__ import annotations

from typing import Any

from ftkit.errors import FtkitError, UnknownNameError
from ftkit.methods.base import Method, ParameterCount, Trainable
from ftkit.methods.freezing import Full, LinearProbe, Partial, Scratch
from ftkit.methods.parameter_efficient import Adapter, LoRA, Prompt

__all__ = [
    "METHODS",
    "Adapter",
    "Full",
    "LinearProbe",
    "LoRA",
    "Method",
    "ParameterCount",
    "Partial",
    "Prompt",
    "Scratch",
    "Trainable",
    "as_method",
]

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Scratch, LinearProbe, Partial, Full, LoRA, Adapter, Prompt)
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
