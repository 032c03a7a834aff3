"""Trials of learning rates, and the watch on memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from ftkit.errors import DataError, FtkitError, TrainingError
from ftkit.experiments.machine import Machine, MemoryWatch
from ftkit.experiments.record import Record
from ftkit.experiments.trials import Trial, Trials, kit_trials, nearest, own_path, read_trials, usual_rate
from ftkit.experiments.tuning import further_trials, rate_grid, tune
from ftkit.methods import METHODS, LinearProbe, LoRA, as_method
from ftkit.paths import data_folder
from ftkit.tasks import TASKS, Task
from ftkit.training.loop import Training

MEGABYTE = 1_000_000


def trial(rate: float, score: float, loss: float, method: str = "lora", **settings: object) -> Trial:
    return Trial(
        method=method,
        settings=settings or as_method(method).settings,
        learning_rate=rate,
        epochs=3,
        seed=0,
        precision="float32",
        train_examples=100,
        metric="accuracy",
        validation_score=score,
        validation_loss=loss,
        best_epoch=2,
        seconds=1.0,
        processor="processor",
        created="2026-11-22T00:00:00+00:00",
    )


def trials(*made: Trial) -> Trials:
    return Trials("reviews", "0" * 64, made)


def test_the_best_trial_has_the_highest_score():
    assert trials(trial(1e-3, 0.8, 0.1), trial(3e-3, 0.9, 0.9)).best(LoRA()) == trial(3e-3, 0.9, 0.9)


def test_equal_scores_are_decided_by_the_lower_loss():
    assert (
        trials(trial(1e-3, 0.9, 0.4), trial(3e-3, 0.9, 0.3), trial(1e-2, 0.9, 0.5)).best(LoRA()).learning_rate == 3e-3
    )


def test_trials_of_other_settings_do_not_count():
    made = trials(trial(1e-3, 0.9, 0.4, rank=2, alpha=16, dropout=0.0), trial(1e-2, 0.9, 0.1, method="adapter"))
    assert made.best(LoRA()) is None
    assert made.best(LoRA(rank=2)).learning_rate == 1e-3


@pytest.mark.parametrize(("best", "at_edge"), [(1e-3, True), (3e-3, False), (1e-2, True)])
def test_a_best_rate_at_an_edge_is_known_as_such(best: float, at_edge: bool):
    made = trials(*(trial(rate, 0.9 if rate == best else 0.5, 0.3) for rate in (1e-2, 1e-3, 3e-3)))
    assert made.best_at_edge(LoRA()) is at_edge


def test_trials_survive_their_file(tmp_path: Path):
    made = trials(trial(1e-3, 0.9, 0.4), trial(3e-3, 0.9, 0.3))
    made.save(tmp_path / "trials.json")
    assert Trials.load(tmp_path / "trials.json") == made


@pytest.mark.parametrize("text", ["", '{"experiment": "methods"}', '{"task": "mine", "fingerprint": "0"', "[]"])
@pytest.mark.parametrize(("read", "named"), [(Trials.load, "holds no trials"), (Record.load, "is no record")])
def test_a_file_that_holds_something_else_is_named(
    text: str, read: Callable[[Path], object], named: str, tmp_path: Path
):
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FtkitError, match=rf"file\.json {named}"):
        read(path)


def test_trials_on_other_data_are_neither_used_nor_written_over(tmp_path: Path, tiny_task: Callable[[str], Task]):
    task, path = tiny_task("text"), tmp_path / "trials.json"
    assert read_trials(path, task) == Trials(task.name, task.fingerprint)
    other = trials(trial(1e-3, 0.9, 0.4))
    other.save(path)
    with pytest.raises(DataError, match=r"trials on other data \(reviews, 100 training examples\).*another file"):
        tune(task, ["linear-probe"], path, trials=1, epochs=1)
    assert Trials.load(path) == other
    folder = tmp_path / "runs"
    assert own_path(folder, task.name, task.fingerprint) != own_path(folder, task.name, other.fingerprint)


def test_trials_over_other_epochs_or_with_another_seed_do_not_count(tmp_path: Path, tiny_task: Callable[[str], Task]):
    task, path = tiny_task("text"), tmp_path / "trials.json"
    (first,) = tune(task, ["linear-probe"], path, trials=1, epochs=1).trials
    (longer,) = tune(task, ["linear-probe"], path, trials=1, epochs=2).trials
    (other,) = tune(task, ["linear-probe"], path, trials=1, epochs=1, seed=1).trials
    assert [(each.epochs, each.seed) for each in (first, longer, other)] == [(1, 0), (2, 0), (1, 1)]
    assert Trials.load(path).trials == (first, longer, other)
    assert tune(task, ["linear-probe"], path, trials=1, epochs=2).trials == (longer,)


def test_trials_that_another_process_adds_meanwhile_are_kept(tmp_path: Path, tiny_task: Callable[[str], Task]):
    task, path = tiny_task("text"), tmp_path / "trials.json"

    def add_another(done: Trial) -> None:
        if done.method == "linear-probe":
            tune(task, ["bitfit"], path, trials=1, epochs=1)

    found = tune(task, ["linear-probe", "norm-tuning"], path, trials=1, epochs=1, on_trial=add_another)
    assert [each.method for each in found.trials] == ["linear-probe", "bitfit", "norm-tuning"]
    assert Trials.load(path) == found


def test_a_rate_that_diverges_is_a_trial_that_lost(
    tmp_path: Path, tiny_task: Callable[[str], Task], monkeypatch: pytest.MonkeyPatch
):
    task, path, rates = tiny_task("text"), tmp_path / "trials.json", [1e-3, 1e30]
    monkeypatch.setattr("ftkit.experiments.tuning.rate_grid", lambda method, trials: rates[:trials])
    found = tune(task, ["full"], path, trials=2, epochs=2)
    assert [each.validation_loss is None for each in found.trials] == [False, True]
    assert found.trials[1].validation_score == 0
    assert found.best(as_method("full")) == found.trials[0]
    assert tune(task, ["full"], path, trials=2, epochs=2) == found
    rates.pop(0)
    with pytest.raises(TrainingError, match=r"every learning rate tried diverged: full \(1e\+30\); lp-ft \(1e\+30\)"):
        tune(task, ["full", "lp-ft"], path, trials=1, epochs=2)
    assert [each.seconds > 0 for each in Trials.load(path).trials] == [True] * 3


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_grid_of_rates_holds_the_typical_one_and_its_neighbours(count: int):
    for name in METHODS:
        method = as_method(name)
        grid = rate_grid(method, count)
        assert len(set(grid)) == count
        assert method.typical_rate in grid
        assert set(rate_grid(method, count - 1) if count > 1 else []) < set(grid)
        assert np.allclose(np.diff(np.log10(grid)), 0.5, atol=0.02)


def test_no_trial_at_all_is_refused():
    with pytest.raises(FtkitError, match="trials = 0"):
        rate_grid(LoRA(), 0)


def test_a_stopped_search_goes_on_where_it_stopped(tiny_task: Callable[[str], Task], tmp_path: Path):
    task, path = tiny_task("text"), tmp_path / "trials.json"
    made: list[float] = []

    def stop(done: Trial) -> None:
        made.append(done.learning_rate)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(task, ["linear-probe"], path, trials=2, epochs=1, on_trial=stop)
    kept = Trials.load(path)
    assert len(kept.trials) == 1
    whole = tune(
        task, ["linear-probe"], path, trials=2, epochs=1, on_trial=lambda done: made.append(done.learning_rate)
    )
    assert whole.trials[0] == kept.trials[0]
    assert made == rate_grid(LinearProbe(), 2)


@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_every_method_gets_as_many_further_trials_all_different(name: str, count: int):
    method = as_method(name)
    pairs = further_trials(method, 1e-3, count)
    assert len(pairs) == len({repr(pair) for pair in pairs}) == count
    assert (method, 1e-3) not in pairs
    if count and method.choices:
        assert pairs[0][0] != method


def test_settings_are_tried_too_and_the_best_are_found(tiny_task: Callable[[str], Task], tmp_path: Path):
    task, path = tiny_task("audio"), tmp_path / "trials.json"
    found = tune(task, ["linear-probe", "lora"], path, trials=2, choices=2, epochs=1)
    assert [len(found.named(name)) for name in ("linear-probe", "lora")] == [4, 4]
    assert {trial.settings["rank"] for trial in found.named("lora")} == {2, 8, 32}
    best = found.best_settings(LoRA())
    top = max(found.named("lora"), key=lambda trial: (trial.validation_score, -trial.validation_loss))
    assert best == LoRA(**top.settings)
    again = tune(task, ["linear-probe", "lora"], path, trials=2, choices=2, epochs=1)
    assert again == found


def test_the_recorded_trials_are_as_many_for_every_method():
    files = sorted((data_folder() / "evidence" / "tuning").glob("*.json"))
    recorded = [Trials.load(path) for path in files]
    assert {each.task for each in recorded} == set(TASKS)
    for path, each in zip(files, recorded, strict=True):
        names = {trial.method for trial in each.trials}
        counts = {name: len(each.named(name)) for name in names}
        assert min(len(each.of(as_method(name))) for name in names) >= 4, path.name
        assert len(set(counts.values())) == 1, (path.name, counts)
        (size,) = {trial.train_examples for trial in each.trials}
        assert len({(trial.epochs, trial.seed) for trial in each.trials}) == 1
        assert path.stem == f"{each.task}-{size}"
    for task in TASKS:
        tried = {trial.method for each in recorded if each.task == task for trial in each.trials}
        assert tried == {name for name, method in METHODS.items() if TASKS[task].modality in method.modalities}


def test_the_trials_on_the_nearest_size_are_taken_method_by_method():
    small, large = trial(1e-3, 0.9, 0.4), replace(trial(1e-4, 0.9, 0.4), train_examples=900)
    other = trial(3e-3, 0.8, 0.2, method="full")
    files = [trials(small, other), trials(large)]
    assert nearest(files, 299).trials == nearest(files, 10).trials == (small, other)
    assert nearest(files, 301).trials == nearest(files, 5000).trials == (other, large)
    assert nearest([], 300) is None
    assert kit_trials("reviews", 300) is kit_trials("movie", 300) is None
    assert nearest(files, 0).trials == nearest(files, 1).trials
    assert usual_rate("reviews", LoRA(), 300) == LoRA().typical_rate
    found = kit_trials("movie-reviews", 5000)
    assert {each.train_examples for name in ("full", "partial") for each in found.named(name)} == {2500}
    assert {each.train_examples for each in found.named("bitfit")} == {400}
    assert usual_rate("movie-reviews", LoRA(), 5000) == found.best(LoRA()).learning_rate


# ------------------------------------------------------------------------------------------------ machine


def test_the_watch_sees_memory_that_came_and_went():
    with MemoryWatch(interval=0.01) as watch:
        before = watch.peak_bytes
        numbers = np.ones(25 * MEGABYTE)  # 200 MB
        time.sleep(0.2)
        del numbers
    assert watch.peak_bytes - before > 190 * MEGABYTE
    assert watch.peak_bytes < before + 400 * MEGABYTE


def test_an_idle_watch_sees_no_more_than_the_process_has():
    with MemoryWatch() as watch:
        resident = psutil.Process().memory_info().rss
    assert watch.peak_bytes == pytest.approx(resident, rel=0.1)


def test_the_machine_describes_itself():
    machine = Machine.this()
    assert machine.memory_bytes == pytest.approx(psutil.virtual_memory().total, abs=0.5e8)
    assert machine.cores >= 1
    assert set(machine.versions) >= {"ftkit", "torch", "transformers", "peft"}
    assert machine.processor


def test_trials_leave_no_finished_training_in_memory(tiny_task: Callable[[str], Task], tmp_path: Path):
    """A training refers to itself in circles, so that only the garbage collector frees its model and optimizer."""
    gc.collect()
    gc.disable()
    try:
        tune(tiny_task("audio"), ["bitfit"], tmp_path / "trials.json", trials=3, epochs=1)
        left = sum(type(each) is Training for each in gc.get_objects())
    finally:
        gc.enable()
    assert left <= 1
