from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ftkit.errors import DataError
from ftkit.tasks import Split, Task


def split(prefix: str, labels: list[int], group: str | None = None) -> Split:
    names = np.array([f"{prefix} {n}" for n in range(len(labels))])
    groups = None if group is None else np.array([group] * len(labels))
    return Split([f"text {name}" for name in names], np.array(labels), groups, names)


@pytest.fixture
def task() -> Task:
    return Task(
        name="example",
        title="Example",
        modality="text",
        backbone="minilm",
        label_names=("no", "yes"),
        train=split("train", [0, 1, 0, 1], "a"),
        validation=split("validation", [0, 1], "b"),
        test=split("test", [0, 1], "c"),
        metric="accuracy",
        metrics=("accuracy",),
    )


def test_fingerprint_is_of_the_contents_and_nothing_else(task: Task) -> None:
    assert replace(task, title="Another", notes=("a note",)).fingerprint == task.fingerprint
    assert replace(task, test=split("test", [1, 0], "c")).fingerprint != task.fingerprint
    assert replace(task, label_names=("yes", "no")).fingerprint != task.fingerprint
    assert replace(task, test=split("other", [0, 1], "c")).fingerprint != task.fingerprint
    assert replace(task, train=split("train", [0, 1, 0, 1], "d")).fingerprint != task.fingerprint


def test_the_fingerprint_of_a_split_is_of_its_items_in_their_order(task: Task) -> None:
    train = task.train
    assert replace(train, labels=train.labels[::-1]).fingerprint == train.fingerprint
    assert train.take([1, 0, 2, 3]).fingerprint != train.fingerprint


def test_empty_split_is_an_error(task: Task) -> None:
    with pytest.raises(DataError, match="test split of task 'example' is empty"):
        replace(task, test=task.test.take([]))


def test_single_class_is_an_error(task: Task) -> None:
    with pytest.raises(DataError, match="single class, 'yes'"):
        replace(task, validation=split("validation", [1, 1], "b"))


def test_class_missing_in_training_is_an_error(task: Task) -> None:
    with pytest.raises(DataError, match="no items of 'maybe'"):
        replace(task, label_names=("no", "yes", "maybe"))


def test_label_without_a_name_is_an_error(task: Task) -> None:
    with pytest.raises(DataError, match=r"labels \[2\]"):
        replace(task, test=split("test", [0, 2], "c"))


def test_shared_group_is_an_error(task: Task) -> None:
    with pytest.raises(DataError, match="group 'a' is in both the train and the test split"):
        replace(task, test=split("test", [0, 1], "a"))


def test_shared_identifier_is_an_error(task: Task) -> None:
    with pytest.raises(DataError, match="identifier 'train 0' is in both"):
        replace(task, test=split("train", [0, 1], "c"))


def test_parts_of_different_length_are_an_error() -> None:
    with pytest.raises(DataError, match="2 items, 3 labels"):
        Split(["a", "b"], np.array([0, 1, 0]), None, np.array(["a", "b"]))


def test_the_kind_of_an_item_stands_before_the_first_slash() -> None:
    names = np.array(["mono/cell1.png", "poly/old/cell2.png", "line 7"])
    split = Split(["a", "b", "c"], np.array([0, 1, 0]), None, names)
    assert split.kinds.tolist() == ["mono", "poly", ""]
    assert split.take([1]).kinds.tolist() == ["poly"]
