"""Is a critic's line for the film or against it? Films in the test split are unseen in training."""

from __future__ import annotations

import numpy as np

from ftkit.fetch import fetch
from ftkit.tasks.base import Split, Task, TaskInfo
from ftkit.tasks.preparation import prepare
from ftkit.tasks.splitting import draw, draw_training, split_by_group

__all__ = ["INFO", "load"]

INFO = TaskInfo(
    name="movie-reviews",
    title="Movie reviews",
    modality="text",
    description="Critics' one-line verdicts, rotten or fresh; the films tested on are never trained on.",
    assets=("rotten-tomatoes",),
    default_train=5000,
    default_validation=1000,
    default_epochs=2,
)

LABEL_NAMES = ("rotten", "fresh")
TEST_SIZE = 1200
_VERSION = 1
_SPLIT_SEED = 2024
_FILM_SHARES = (0.7, 0.1, 0.2)


def load(limit: int | None = None, seed: int = 0) -> Task:
    """Load the task; see `ftkit.tasks.load_task` for the parameters.

    The reviews are those collected by Pang and Lee ("Seeing stars", ACL 2005, and later). A fifth of the films
    is kept for the test, of whose reviews 1,200 are drawn, as evenly over the films as possible.
    """
    splits = prepare(INFO.name, _VERSION, INFO.assets, _build)
    train, validation = draw_training(
        splits["train"],
        splits["validation"],
        (INFO.default_train, INFO.default_validation),
        task_name=INFO.name,
        limit=limit,
        seed=seed,
    )
    return Task(
        name=INFO.name,
        title=INFO.title,
        modality=INFO.modality,
        backbone="minilm",
        label_names=LABEL_NAMES,
        train=train,
        validation=validation,
        test=splits["test"],
        metric="accuracy",
        metrics=("accuracy", "balanced_accuracy", "roc_auc"),
        assets=INFO.assets,
        epochs=INFO.default_epochs,
    )


def _build() -> dict[str, Split]:
    import pandas

    path = fetch("rotten-tomatoes") / "rotten_tomatoes_corpus_full.csv.bz2"
    table = pandas.read_csv(path)
    reviews = table[table["category"].isin(LABEL_NAMES)]
    # Agencies print one line about two films, and a line twice with other punctuation: the same letters
    # and digits count as the same review.
    normalised = reviews["text"].str.lower().str.replace(r"\W+", " ", regex=True).str.strip()
    reviews = reviews[~normalised.duplicated() & (normalised != "")]
    split = Split(
        items=reviews["text"].str.strip().tolist(),
        labels=(reviews["category"] == "fresh").to_numpy(dtype=np.int64),
        groups=np.array(reviews["movie_name"].tolist()),
        identifiers=np.array([f"line {row}" for row in reviews.index + 2]),
    )
    assert split.groups is not None
    parts = split_by_group(split.labels, split.groups, _FILM_SHARES, seed=_SPLIT_SEED)
    train, validation, test = (split.take(part) for part in parts)
    return {"train": train, "validation": validation, "test": draw(test, TEST_SIZE, seed=_SPLIT_SEED)}
