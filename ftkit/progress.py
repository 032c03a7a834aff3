"""Bars beside work that takes longer than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Part = TypeVar("Part")

MOMENT = 2.0
"""Seconds of work before its bar appears: what is done sooner needs none."""


def with_bar(
    parts: Iterable[Part],
    description: str | None,
    total: int,
    size: Callable[[Part], int] | None = None,
    unit: str = "item",
) -> Iterator[Part]:
    """Yield parts of some work beside a bar that counts the items done, shown where it takes longer than `MOMENT`.

    Parameters
    ----------
    parts
        What is worked on, one after the other.
    description
        What the bar says; None shows no bar.
    total
        Items in all parts.
    size
        Items in one part; by default a part is one item. `len` counts those of a batch.
    unit
        What an item is called, default "item".

    Examples
    --------
    >>> [sum(part) for part in with_bar([[1, 2], [3]], "Sums", total=3, size=len)]
    [3, 3]
    """
    if description is None:
        yield from parts
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=description, unit=unit, delay=MOMENT, leave=False, dynamic_ncols=True) as bar:
        for part in parts:
            yield part
            bar.update(1 if size is None else size(part))
