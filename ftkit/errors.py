"""The errors that ftkit raises on purpose: each names the thing, the value and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AssetError",
    "DataError",
    "DivergedError",
    "FtkitError",
    "NoRoomError",
    "TrainingError",
    "UnknownNameError",
]


class FtkitError(Exception):
    """Base class of every error that ftkit raises on purpose."""


class UnknownNameError(FtkitError, KeyError):
    """A name that is not among the known ones.

    It is also a `KeyError`, so code that looks names up like dictionary keys may catch that.

    Parameters
    ----------
    kind
        What the name should have named, in the singular: ``"task"``, ``"method"``, ``"asset"``.
    name
        The name that was given.
    known
        The names that exist, in the order in which to show them.

    Examples
    --------
    >>> print(UnknownNameError("method", "lorra", ["full", "lora"]))
    Unknown method 'lorra'. Did you mean 'lora'? Known methods: full, lora.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(known)
        close = difflib.get_close_matches(str(name), self.known, n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        listing = ", ".join(self.known) if self.known else "none"
        self.message = f"Unknown {kind} {name!r}.{guess} Known {kind}s: {listing}."
        super().__init__(self.message)

    def __str__(self) -> str:
        # KeyError would show the repr of the message, quotes included.
        return self.message

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, object, tuple[str, ...]]]:
        # The default would rebuild the error from its message alone, and fail between processes.
        return type(self), (self.kind, self.name, self.known)


class AssetError(FtkitError):
    """A model or data set could not be had, or is not what the catalog says it is."""


class DataError(FtkitError):
    """Data that a task cannot be built from, such as an empty split or a missing column."""


class TrainingError(FtkitError):
    """A training run that cannot start or cannot go on."""


class NoRoomError(TrainingError):
    """What frozen blocks computed fits neither memory nor disk."""


class DivergedError(TrainingError):
    """A training whose loss or answers stopped being finite numbers: its learning rate was too high."""
