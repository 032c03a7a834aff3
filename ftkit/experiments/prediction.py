"""Answers of a trained model to a whole file or folder of new items."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftkit.errors import DataError
from ftkit.experiments.run import Run
from ftkit.progress import progress_bar
from ftkit.tasks.reading import list_items, printable

if TYPE_CHECKING:
    import pandas

__all__ = ["predict_file"]

PART = 256
"""Items that are read at once: a folder may hold more pictures than memory does."""
NAMED = 5
"""Of the items that can't be read, how many are named."""

logger = logging.getLogger(__name__)


def predict_file(run: Run, source: str | Path, column: str | None = None, *, progress: bool = True) -> pandas.DataFrame:
    r"""Classify what a file or folder holds.

    Parameters
    ----------
    run
        A trained run, such as `load_run` opens.
    source
        A CSV or TSV file with a column of texts, or of paths to pictures or recordings (relative to the file); or a
        picture, a recording, or a folder of them, at any depth.
    column
        Which column; guessed where it has a usual name or is the only one.
    progress
        Show a progress bar, default True.

    Returns
    -------
    pandas.DataFrame
        One row an item, in order: ``item`` (the text or the path), ``answer`` (the name of the most probable class),
        and ``probability of`` each class, 0 to 1. What can't be read has none of these, and a warning names it.

    Raises
    ------
    DataError
        If there is nothing to classify, or nothing can be read.

    Examples
    --------
    >>> import ftkit
    >>> run = ftkit.fine_tune(ftkit.load_task("movie-reviews", limit=40), "linear-probe", epochs=1, progress=False)
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "new.csv"
    ...     _ = path.write_text("review\nA warm and funny film.\nA dull one.\n")
    ...     table = predict_file(run, path, progress=False)
    >>> list(table.columns)
    ['item', 'answer', 'probability of rotten', 'probability of fresh']
    """
    import pandas

    items = list_items(source, run.spec.modality, column)
    answered, unreadable = [], dict[str, DataError]()
    with progress_bar("Answers" if progress else None, len(items)) as advance:
        for start in range(0, len(items), PART):
            part = items[start : start + PART]
            answered.append(_probabilities(run, part, unreadable))
            advance(len(part))
    probabilities = np.concatenate(answered)
    without = np.isnan(probabilities).any(axis=1)
    if without.all():
        raise next(iter(unreadable.values()))
    if unreadable:
        reasons = "; ".join(map(str, list(unreadable.values())[:NAMED]))
        more = f"; and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
        logger.warning("%s of %s can't be read and have no answer: %s%s", without.sum(), len(items), reasons, more)
    names = run.label_names
    best = np.nan_to_num(probabilities).argmax(axis=1)
    return pandas.DataFrame(
        {
            "item": items if run.spec.modality == "text" else [printable(each) for each in items],
            "answer": [None if missing else names[index] for index, missing in zip(best, without, strict=True)],
            **{f"probability of {name}": probabilities[:, index] for index, name in enumerate(names)},
        }
    )


def _probabilities(run: Run, items: Sequence[str], unreadable: dict[str, DataError]) -> np.ndarray:
    """Answer items, array (items, classes), without a number for those that can't be read; these are added.

    Where some can't, halves are tried, and halves of these, until what is left can or is one item.
    """
    try:
        return run.predict(items).probabilities
    except DataError as error:
        if len(items) == 1:
            unreadable[items[0]] = error
            return np.full((1, len(run.label_names)), np.nan)
    middle = len(items) // 2
    return np.concatenate([_probabilities(run, part, unreadable) for part in (items[:middle], items[middle:])])
