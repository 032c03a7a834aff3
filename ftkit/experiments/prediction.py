"""Answers of a trained model to a whole file or folder of new items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftkit.experiments.run import Run
from ftkit.tasks.reading import list_items

if TYPE_CHECKING:
    import pandas

__all__ = ["predict_file"]

PART = 256
"""Items that are read at once: a folder may hold more pictures than memory does."""


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
        and ``probability of`` each class, 0 to 1.

    Raises
    ------
    DataError
        If there is nothing to classify, or an item is missing or can't be read.

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
    from tqdm.auto import tqdm

    items = list_items(source, run.spec.modality, column)
    answered = []
    with tqdm(total=len(items), desc="Answers", unit="item", leave=False, disable=not progress) as bar:
        for start in range(0, len(items), PART):
            part = items[start : start + PART]
            answered.append(run.predict(part).probabilities)
            bar.update(len(part))
    probabilities = np.concatenate(answered)
    names = run.label_names
    return pandas.DataFrame(
        {
            "item": items,
            "answer": [names[index] for index in probabilities.argmax(axis=1)],
            **{f"probability of {name}": probabilities[:, index] for index, name in enumerate(names)},
        }
    )
