from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from ftkit import fine_tune, load_run
from ftkit.backbones import load_backbone
from ftkit.errors import FtkitError, TrainingError, UnknownNameError
from ftkit.experiments.fine_tuning import answers
from ftkit.experiments.run import Predictions, Run, Spec
from ftkit.tasks import Task
from ftkit.training.cache import ActivationCache
from ftkit.training.callbacks import Callback
from ftkit.training.history import Step
from ftkit.training.loop import Training


@pytest.fixture
def run(cell: Callable[..., Any]) -> Run:
    return cell("linear-probe", "text").run


def test_a_run_survives_json(run: Run):
    again = Run.from_dict(json.loads(json.dumps(run.to_dict())))
    for field in fields(Run):
        if field.name not in ("predictions", "folder", "trainable"):
            assert getattr(again, field.name) == getattr(run, field.name), field.name
    assert again.predictions.identifiers == run.predictions.identifiers
    assert again.predictions.groups == run.predictions.groups
    np.testing.assert_array_equal(again.predictions.labels, run.predictions.labels)
    np.testing.assert_array_equal(again.predictions.probabilities, run.predictions.probabilities)


def test_a_saved_run_is_the_run(cell: Callable[..., Any]):
    found = cell("linear-probe", "text")
    again = load_run(found.folder)
    assert again.to_dict() == found.run.to_dict()
    assert again.folder == found.folder
    assert again.to_dict()["run_id"] == found.run.spec.run_id


def test_a_run_that_is_saved_over_another_and_breaks_off_leaves_none(
    tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = fine_tune(tiny_task("text"), "linear-probe", epochs=1, progress=False)
    run.save(tmp_path)

    def stop(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.model, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        run.save(tmp_path)
    with pytest.raises(FtkitError, match="There is no run in"):
        load_run(tmp_path)


def other_values(spec: Spec) -> dict[str, Any]:
    """Give every field of a specification another value."""
    changed: dict[str, Any] = {}
    for name, value in asdict(spec).items():
        if isinstance(value, bool):
            changed[name] = not value
        elif isinstance(value, int | float):
            changed[name] = value + 1
        elif isinstance(value, dict):
            changed[name] = {**value, "other": 1}
        elif value is None:
            changed[name] = 2
        else:
            changed[name] = f"{value}x"
    return changed


def test_every_field_of_the_specification_changes_the_identifier(run: Run):
    changed = other_values(run.spec)
    identifiers = {run.spec.run_id, *(replace(run.spec, **{name: value}).run_id for name, value in changed.items())}
    assert len(changed) == len(fields(Spec))
    assert len(identifiers) == len(fields(Spec)) + 1
    assert all(len(identifier) == 12 for identifier in identifiers)


def test_the_identifier_does_not_depend_on_the_order_of_settings(run: Run):
    one, other = (replace(run.spec, settings=settings) for settings in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert one.run_id == other.run_id


def test_a_folder_without_a_run_is_named(tmp_path: Path):
    with pytest.raises(FtkitError, match=r"no run in .*run\.json is missing"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"spec": {"task": "movie-reviews"}}', "null"])
def test_a_file_that_is_no_run_is_named(tmp_path: Path, content: str):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(FtkitError, match=r"run\.json is not a run of this version"):
        load_run(tmp_path)


def test_a_run_without_weights_says_so(run: Run):
    scores_only = Run.from_dict(run.to_dict())
    with pytest.raises(FtkitError, match="holds scores only"):
        scores_only.predict(["A fine film."])


def test_scores_are_those_of_the_predictions(run: Run):
    correct = run.predictions.predicted == run.predictions.labels
    assert run.score.value == pytest.approx(correct.mean())
    assert set(run.scores) == set(run.validation_scores) == {"accuracy", "balanced_accuracy", "roc_auc"}
    assert run.score.low <= run.score.value <= run.score.high


def test_a_run_records_what_it_cost_and_where(run: Run):
    assert 0 < run.cost.seconds < 60
    assert run.seconds == run.cost.seconds > run.history.seconds  # looking up or computing the frozen features counts
    assert run.cost.frozen_depth == 7  # six layers, and the pooled features
    assert run.cost.peak_memory_bytes > 100e6
    assert run.cost.share == pytest.approx(run.cost.trainable / run.cost.total)
    assert run.machine.versions["ftkit"]
    assert run.machine.threads >= 1


def test_a_run_is_described_in_one_line(run: Run):
    assert repr(run).startswith(f"Run {run.spec.run_id}: linear-probe on movie-reviews, accuracy")
    assert "\n" not in repr(run)


# ------------------------------------------------------------------------------------------------ fine_tune


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "lorra"}, UnknownNameError, "Did you mean 'lora'"),
        ({"method": "lora", "lr": -1.0}, TrainingError, "learning_rate = -1.0"),
        ({"method": "lora", "epochs": 0}, TrainingError, "epochs = 0"),
        ({"method": "lora", "precision": "half"}, TrainingError, "precision = 'half'"),
        ({"method": "lora", "seed": -1}, TrainingError, "seed = -1"),
        ({"method": "lora", "patience": 0}, TrainingError, "patience = 0"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_work(
    tiny_task: Callable[[str], Task], arguments: dict[str, Any], error: type[FtkitError], message: str
):
    with pytest.raises(error, match=message):
        fine_tune(tiny_task("text"), progress=False, **arguments)


class InterruptAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, training: Training, step: Step) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


def test_an_interrupted_run_comes_back_with_its_scores(tiny_task: Callable[[str], Task]):
    run = fine_tune(
        tiny_task("text"), "linear-probe", batch_size=16, epochs=3, progress=False, callbacks=[InterruptAt(2)]
    )
    assert run.history.interrupted
    assert len(run.history.epochs) == run.history.best_epoch == 1
    assert len(run.predictions.labels) == len(tiny_task("text").test)
    assert 0 <= run.score.value <= 1


def test_an_interrupt_while_the_test_is_answered_loses_nothing_that_was_trained(
    tiny_task: Callable[[str], Task], monkeypatch: pytest.MonkeyPatch
):
    presses = iter([KeyboardInterrupt])

    def interrupted(*arguments: Any) -> Predictions:
        for press in presses:
            raise press
        return answers(*arguments)

    usual = fine_tune(tiny_task("text"), "linear-probe", epochs=1, progress=False)
    monkeypatch.setattr("ftkit.experiments.fine_tuning.answers", interrupted)
    run = fine_tune(tiny_task("text"), "linear-probe", epochs=1, progress=False)
    assert run.stopped
    assert not run.history.interrupted
    assert run.scores == usual.scores


def test_an_interrupt_before_the_first_epoch_leaves_no_run(tiny_task: Callable[[str], Task]):
    with pytest.raises(KeyboardInterrupt):
        fine_tune(tiny_task("text"), "linear-probe", epochs=1, progress=False, callbacks=[InterruptAt(1)])


def test_blocks_whose_work_was_not_kept_are_not_counted_as_done_once(tiny_task: Callable[[str], Task], tmp_path: Path):
    nowhere = ActivationCache(tmp_path, memory_bytes=0, disk_bytes=0)
    run = fine_tune(tiny_task("text"), "linear-probe", epochs=1, progress=False, cache=nowhere)
    assert run.cost.frozen_depth == 0


@pytest.mark.parametrize(("modality", "again"), [("audio", 0), ("text", 0), ("image", 3)])
def test_what_is_slow_to_prepare_is_prepared_once(
    modality: str, again: int, tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    task, cache = tiny_task(modality), ActivationCache(tmp_path)
    kind = type(load_backbone(task.backbone))
    prepared = Mock(side_effect=kind.prepare)
    monkeypatch.setattr(kind, "prepare", lambda self, items: prepared(self, items))
    fine_tune(task, "full", epochs=1, progress=False, cache=cache)
    assert prepared.call_count == len(task.splits)
    prepared.reset_mock()
    fine_tune(task, "lora", epochs=1, seed=1, progress=False, cache=cache)
    assert prepared.call_count == again  # a picture is read as it is


def test_the_same_call_gives_the_same_run(tiny_task: Callable[[str], Task]):
    first, again, other = (
        fine_tune(tiny_task("text"), "prompt", epochs=1, batch_size=8, seed=seed, progress=False) for seed in (1, 1, 2)
    )
    assert first.spec == again.spec
    assert first.history.steps == again.history.steps
    np.testing.assert_array_equal(first.predictions.probabilities, again.predictions.probabilities)
    assert other.spec.run_id != first.spec.run_id
    assert other.history.steps != first.history.steps
