"""Bars beside work that takes longer than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MOMENT = 2.0
"""Seconds of work before its bar appears: what is done sooner needs none."""


@contextmanager
def progress_bar(description: str | None, total: int, unit: str = "item") -> Iterator[Callable[[int], object]]:
    """Give a function that is told of every part that is done; a bar shows them where all takes longer than `MOMENT`.

    Parameters
    ----------
    description
        What the bar says; None shows no bar.
    total
        How much there is to do.
    unit
        What is counted, default "item".

    Examples
    --------
    >>> with progress_bar("Squares", total=3) as advance:
    ...     for number in range(3):
    ...         _ = advance(1)
    """
    if description is None:
        yield lambda done: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=description, unit=unit, delay=MOMENT, leave=False, dynamic_ncols=True) as bar:
        yield bar.update
