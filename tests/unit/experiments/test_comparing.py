from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftkit import Comparison, LinearProbe, LoRA, Run, compare, fine_tune, load_run, memory
from ftkit.errors import DataError, DivergedError, FtkitError, NoRoomError, UnknownNameError
from ftkit.experiments import tuning
from ftkit.experiments.experiment import Experiment, grid
from ftkit.experiments.fairness import (
    Fairness,
    MethodFacts,
    ledgers,
    ledgers_by_data,
    rates_in_words,
    record_fairness,
    with_trials,
)
from ftkit.experiments.fine_tuning import Prepared, prepare
from ftkit.experiments.record import Record
from ftkit.experiments.trials import Trial, Trials, kit_trials, own_path, recorded_trials
from ftkit.experiments.tuning import tune
from ftkit.methods import Method, as_method
from ftkit.paths import claimed
from ftkit.tasks import Task, load_task
from ftkit.training.heads import TrainedHead, train_heads
from ftkit.training.history import History
from ftkit.training.loop import Training, TrainingSettings


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}


def test_a_comparison_saves_its_runs_trials_and_baselines(
    first_comparison: Comparison, own_reviews: Task, runs_of_own_reviews: Path
):
    assert [run.spec.seed for run in first_comparison.runs] == [0, 1]
    assert own_reviews.name == "forty-reviews"
    for run in first_comparison.runs:
        assert load_run(runs_of_own_reviews / run.spec.folder_name).to_dict() == run.to_dict()
    trials = Trials.load(own_path(runs_of_own_reviews, own_reviews.name, own_reviews.fingerprint))
    assert trials == first_comparison.trials
    assert [line.name for line in first_comparison.baselines] == ["majority", "tfidf-logistic"]


def test_the_rate_is_the_best_of_the_trials(first_comparison: Comparison):
    assert first_comparison.trials is not None
    tried = first_comparison.trials.trials
    assert len(tried) == 2
    best = max(tried, key=lambda trial: (trial.validation_score, -trial.validation_loss))
    assert {run.spec.learning_rate for run in first_comparison.runs} == {best.learning_rate}


def test_a_second_comparison_trains_only_what_is_missing(
    first_comparison: Comparison, own_reviews: Task, runs_of_own_reviews: Path
):
    def both() -> Comparison:
        methods = ["lora", "linear-probe"]
        return compare(own_reviews, methods, epochs=1, trials=2, choices=0, folder=runs_of_own_reviews, progress=False)

    before = files(runs_of_own_reviews)
    board = both()
    after = files(runs_of_own_reviews)
    assert board.runs[0].to_dict() == first_comparison.runs[0].to_dict()
    assert [run.spec.method for run in board.runs] == ["linear-probe", "lora"]
    trials = str(own_path(Path(), own_reviews.name, own_reviews.fingerprint))
    assert {name: time for name, time in after.items() if name in before and name != trials} == {
        name: time for name, time in before.items() if name != trials
    }
    assert {name.split("/")[1].partition("-seed")[0] for name in set(after) - set(before)} == {"lora"}
    assert board.trials is not None
    assert [len(board.trials.of(method)) for method in (LinearProbe(), LoRA())] == [2, 2]
    assert board.trials.trials[:2] == first_comparison.trials.trials
    again = both()
    assert files(runs_of_own_reviews) == after
    assert [run.to_dict() for run in again.runs] == [run.to_dict() for run in board.runs]


def test_an_interrupted_comparison_goes_on_where_it_stopped(
    first_comparison: Comparison, own_reviews: Task, tmp_path: Path
):
    assert first_comparison.trials is not None
    first_comparison.trials.save(own_path(tmp_path, own_reviews.name, own_reviews.fingerprint))

    def stop(run: Run) -> None:
        raise KeyboardInterrupt

    def go(on_run: Callable[[Run], None]) -> Comparison:
        methods = ["linear-probe", "partial"]
        return compare(
            own_reviews, methods, epochs=1, trials=1, choices=0, folder=tmp_path, progress=False, on_run=on_run
        )

    with pytest.raises(KeyboardInterrupt):
        go(stop)
    kept = list(tmp_path.rglob("run.json"))
    assert [json.loads(path.read_text())["spec"]["method"] for path in kept] == ["partial"]
    written = kept[0].stat().st_mtime_ns
    seen: list[str] = []
    board = go(lambda run: seen.append(run.spec.method))
    assert seen == ["partial", "linear-probe"]  # a probe goes on from what another left frozen
    assert [run.spec.method for run in board.runs] == ["linear-probe", "partial"]
    assert kept[0].stat().st_mtime_ns == written


def test_a_whole_run_is_kept_where_the_comparison_is_stopped_while_its_test_is_answered(
    own_reviews: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = {"epochs": 1, "trials": 1, "choices": 0, "folder": tmp_path, "progress": False}

    def stopped(*arguments: Any, **settings: Any) -> Run:
        run = fine_tune(*arguments, **settings)
        run.stopped = True
        return run

    with monkeypatch.context() as patch:
        patch.setattr("ftkit.experiments.comparison.fine_tune", stopped)
        with pytest.raises(KeyboardInterrupt):
            compare(own_reviews, ["bitfit"], **options)
    (kept,) = tmp_path.rglob("run.json")
    written = kept.stat().st_mtime_ns
    assert [run.spec.method for run in compare(own_reviews, ["bitfit"], **options).runs] == ["bitfit"]
    assert kept.stat().st_mtime_ns == written


def test_a_run_that_another_process_trains_is_waited_for_and_taken(
    first_comparison: Comparison, own_reviews: Task, tmp_path: Path
):
    assert first_comparison.trials is not None
    first_comparison.trials.save(own_path(tmp_path, own_reviews.name, own_reviews.fingerprint))
    theirs = replace(first_comparison.runs[0])
    place = tmp_path / theirs.spec.folder_name
    options = {"epochs": 1, "trials": 1, "choices": 0, "folder": tmp_path, "progress": False}
    with ThreadPoolExecutor(1) as pool:
        with claimed(place, wait=True):
            waiting = pool.submit(compare, own_reviews, ["linear-probe"], **options)
            time.sleep(3)
            assert not waiting.done()
            theirs.save(place)
        (taken,) = waiting.result(timeout=120).runs
    assert taken.created == theirs.created


def test_a_run_that_diverges_is_left_out_and_named(
    first_comparison: Comparison, own_reviews: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def far_too_high(task: Task, method: Method, *, lr: float, seed: int, **options: Any) -> Run:
        return fine_tune(task, method, lr=1e38 if seed == 1 else lr, seed=seed, **options)

    monkeypatch.setattr("ftkit.experiments.comparison.fine_tune", far_too_high)

    def board(seeds: list[int]) -> Comparison:
        return compare(
            own_reviews, ["bitfit"], seeds=seeds, epochs=1, trials=1, choices=0, folder=tmp_path, progress=False
        )

    found = board([1, 2])
    assert [run.spec.seed for run in found.runs] == [2]
    assert "BitFit, seed 1, is left out: " in found.notes[-1]
    assert "with learning rate 1e+38" in found.notes[-1]
    with pytest.raises(DivergedError, match=r"learning rate 1e\+38"):
        board([1])


def test_what_diverged_is_freed_before_the_next_training(
    own_reviews: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usual, alive, trainings = Training.run, [], weakref.WeakSet[Training]()

    def followed(training: Training) -> History:
        trainings.add(training)
        return usual(training)

    def too_high_at_first(task: Task, method: Method, *, lr: float, seed: int, **options: Any) -> Run:
        alive.append(len(trainings))
        return fine_tune(task, method, lr=1e38 if seed == 1 else lr, seed=seed, **options)

    monkeypatch.setattr(Training, "run", followed)
    monkeypatch.setattr("ftkit.experiments.comparison.fine_tune", too_high_at_first)
    gc.disable()  # nothing may wait until garbage is collected
    try:
        found = compare(
            own_reviews, ["bitfit"], seeds=[1, 2], epochs=1, trials=1, choices=0, folder=tmp_path, progress=False
        )
    finally:
        gc.enable()
    assert len(found.runs) == 1
    assert len(alive) == 2
    assert alive[1] == 0


def test_a_method_that_diverges_at_every_rate_tried_keeps_no_other_from_being_compared(
    own_reviews: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "ftkit.experiments.tuning.rate_grid", lambda method, _: [1e38 if method.name == "bitfit" else 1e-3]
    )
    methods = ["bitfit", "linear-probe"]
    board = compare(own_reviews, methods, epochs=1, trials=1, choices=0, folder=tmp_path, progress=False)
    assert "linear-probe" in board.by_method()
    assert board.trials is not None
    assert {trial.method: trial.validation_loss is None for trial in board.trials.trials} == {
        "bitfit": True,
        "linear-probe": False,
    }


def test_another_metric_has_trials_runs_and_baselines_of_its_own(own_reviews: Task, tmp_path: Path):
    by_f1 = replace(own_reviews, metric="macro_f1", metrics=("macro_f1", "roc_auc"))

    def board(task: Task) -> Comparison:
        return compare(task, ["bitfit"], seeds=1, epochs=1, trials=2, choices=0, folder=tmp_path, progress=False)

    boards = {task.metric: board(task) for task in (own_reviews, by_f1)}
    for task in (own_reviews, by_f1):
        found = boards[task.metric]
        assert found.trials is not None
        assert [(run.metric, run.spec.metric) for run in found.runs] == [(task.metric, task.metric)]
        assert [trial.metric for trial in found.trials.trials] == [task.metric] * 2
        assert all(line.scores.keys() == set(task.metrics) for line in found.baselines)
        assert board(task).runs[0].created == found.runs[0].created
    with_more = replace(by_f1, metrics=("macro_f1", "accuracy"))
    assert all("accuracy" in line.scores for line in board(with_more).baselines)


@pytest.fixture
def heads_at_once(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[float, int]]]:
    """Learning rates and seeds of the probes of every computation; none may train in another way."""
    found: list[list[tuple[float, int]]] = []

    def noted(*given: Any) -> list[TrainedHead]:
        settings: list[TrainingSettings] = given[3]
        found.append([(each.learning_rate, each.seed) for each in settings])
        return train_heads(*given)

    def alone(*_: object, **__: object) -> None:
        raise AssertionError("a linear probe was trained by itself")

    monkeypatch.setattr("ftkit.experiments.probing.train_heads", noted)
    monkeypatch.setattr("ftkit.experiments.comparison.fine_tune", alone)
    monkeypatch.setattr("ftkit.experiments.tuning.run_trial", alone)
    return found


@pytest.mark.parametrize("seeds", [1, 2, [3, 4]])
@pytest.mark.parametrize("method", ["linear-probe", LinearProbe()])
def test_linear_probes_of_all_rates_and_seeds_train_in_one_computation(
    own_reviews: Task,
    tmp_path: Path,
    heads_at_once: list[list[tuple[float, int]]],
    method: str | Method,
    seeds: int | list[int],
):
    options: dict[str, Any] = {"epochs": 1, "trials": 2, "choices": 2, "folder": tmp_path, "progress": False}
    board = compare(own_reviews, [method], seeds=seeds, **options)
    (together,) = heads_at_once
    assert board.trials is not None
    tried = {(trial.learning_rate, trial.seed) for trial in board.trials.trials}
    made = {(run.spec.learning_rate, run.spec.seed) for run in board.runs}
    assert len(tried) == 4  # as many as any other method, though more were trained
    assert [run.spec.seed for run in board.runs] == (list(range(seeds)) if isinstance(seeds, int) else seeds)
    assert tried | made <= set(together)
    assert len(set(together)) == len(together)
    compare(own_reviews, [method], seeds=seeds, **options)
    assert len(heads_at_once) == 1  # what is found is not trained again


def test_a_comparison_of_more_seeds_trains_the_probes_of_these_only(
    own_reviews: Task, tmp_path: Path, heads_at_once: list[list[tuple[float, int]]]
):
    options: dict[str, Any] = {"epochs": 1, "trials": 2, "choices": 2, "folder": tmp_path, "progress": False}
    (first,) = compare(own_reviews, ["linear-probe"], **options).runs
    compare(own_reviews, ["linear-probe"], seeds=3, **options)
    assert heads_at_once[1:] == [[(first.spec.learning_rate, seed) for seed in (1, 2)]]


def test_linear_probes_of_a_ready_made_task_train_at_their_recorded_rate_only(
    tmp_path: Path, heads_at_once: list[list[tuple[float, int]]]
):
    reviews = load_task("movie-reviews", limit=40)
    board = compare(reviews, ["linear-probe"], seeds=2, epochs=1, folder=tmp_path, progress=False)
    assert heads_at_once == [[(run.spec.learning_rate, run.spec.seed) for run in board.runs]]


def test_memory_is_given_back_when_nothing_holds_the_models_of_linear_probes_any_more(
    own_reviews: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    models: list[weakref.ref[torch.nn.Module]] = []
    left: list[list[torch.nn.Module | None]] = []

    def noted(*given: Any, **options: Any) -> Prepared:
        prepared = prepare(*given, **options)
        models.append(weakref.ref(prepared.trainable.model))
        return prepared

    def released() -> None:
        memory.release_memory()
        left.append([model() for model in models])

    monkeypatch.setattr("ftkit.experiments.probing.prepare", noted)
    monkeypatch.setattr("ftkit.experiments.comparison.release_memory", released)
    memory._spare_what_is_there.cache_clear()  # as where much was imported since the last training
    compare(own_reviews, ["linear-probe"], seeds=2, epochs=1, folder=tmp_path, progress=False)
    assert left == [[None, None]]


def test_linear_probes_whose_features_find_no_room_are_tried_one_by_one(
    own_reviews: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_room(*_: Any) -> None:
        raise NoRoomError

    monkeypatch.setattr("ftkit.experiments.probing.Probes.heads", no_room)
    monkeypatch.setattr("ftkit.experiments.probing.Probes.runs", no_room)
    board = compare(
        own_reviews, ["linear-probe"], seeds=2, epochs=1, trials=2, choices=0, folder=tmp_path, progress=False
    )
    assert len(board.runs) == 2
    assert board.trials is not None
    assert len(board.trials.trials) == 2


def test_a_trial_that_another_process_has_made_meanwhile_is_not_kept_twice(own_reviews: Task, tmp_path: Path):
    path, told = tmp_path / "trials.json", list[Trial]()
    (made,) = tune(own_reviews, ["linear-probe"], path, trials=1, epochs=1).trials
    assert tuning._kept(own_reviews, replace(made, seconds=1.0), path, told.append).trials == (made,)
    assert len(told) == 1
    other = replace(made, learning_rate=2 * made.learning_rate)
    assert tuning._kept(own_reviews, other, path, None).trials == (made, other)


def test_linear_probes_of_several_seeds_are_saved_each_in_its_folder(first_comparison: Comparison):
    assert [run.spec.seed for run in first_comparison.runs] == [0, 1]
    folders = {run.folder for run in first_comparison.runs}
    assert len(folders) == 2
    weights = [load_run(run.folder).model.head.weight for run in first_comparison.runs if run.folder is not None]
    assert not torch.equal(*weights)


def test_seeds_may_be_numbers_of_numpy_and_are_written_as_whole_numbers(
    first_comparison: Comparison, own_reviews: Task, runs_of_own_reviews: Path
):
    options = {"epochs": 1, "trials": 2, "choices": 0, "folder": runs_of_own_reviews, "progress": False}
    for seeds in (np.arange(2), np.int64(2)):
        again = compare(own_reviews, ["linear-probe"], seeds=seeds, **options)
        assert [run.to_dict() for run in again.runs] == [run.to_dict() for run in first_comparison.runs]
        assert [type(run.spec.seed) for run in again.runs] == [int, int]


def test_two_comparisons_claim_their_probes_in_one_order_and_so_never_wait_for_each_other(
    first_comparison: Comparison, own_reviews: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert first_comparison.trials is not None
    orders = []
    for seeds in ([0, 1], [1, 0]):
        folder, order = tmp_path / str(seeds[0]), list[str]()

        def noted(place: Path, wait: bool, order: list[str] = order) -> AbstractContextManager[bool]:
            order.append(place.name)
            return claimed(place, wait=wait)

        monkeypatch.setattr("ftkit.experiments.comparison.claimed", noted)
        first_comparison.trials.save(own_path(folder, own_reviews.name, own_reviews.fingerprint))
        options = {"epochs": 1, "trials": 1, "choices": 0, "folder": folder, "progress": False}
        compare(own_reviews, ["linear-probe"], seeds=seeds, **options)
        orders.append(order[:2])
    assert orders[0] == orders[1] == sorted(orders[0])


def test_a_run_of_a_comparison_answers_from_its_folder(first_comparison: Comparison):
    run = first_comparison.runs[0]
    assert run.trainable is None
    assert run.predict(["A moving, funny and beautiful film."]).labels[0] in ("fresh", "rotten")
    run.release()


def test_the_table_has_a_row_a_method(first_comparison: Comparison):
    table = first_comparison.table()
    assert list(table.index) == ["Linear probe"]
    row = table.loc["Linear probe"]
    assert row["seeds"] == 2
    assert row["trained"] == "770"
    assert row["of all"] == "0.0034 %"
    assert row["Accuracy"] == str(first_comparison.score("linear-probe"))
    assert "Linear probe" in repr(first_comparison)


def test_the_score_of_a_method_is_the_mean_over_its_seeds(first_comparison: Comparison):
    each = [run.score.value for run in first_comparison.runs]
    assert first_comparison.score("linear-probe").value == pytest.approx(np.mean(each))


def test_baselines_are_scored_on_the_same_test(first_comparison: Comparison, own_reviews: Task):
    table = first_comparison.baseline_table()
    assert list(table.index) == [line.title for line in first_comparison.baselines]
    assert first_comparison.baselines[0].scores["accuracy"].n == len(own_reviews.test)
    majority = np.bincount(own_reviews.test.labels).max() / len(own_reviews.test)
    assert first_comparison.baselines[0].scores["accuracy"].value <= majority


def test_a_comparison_without_baselines_can_be_shown(first_comparison: Comparison):
    bare = replace(first_comparison, baselines=[])
    assert bare.baseline_table().empty
    assert "Linear probe" in bare._repr_html_()


def test_a_notebook_shows_scores_and_baselines(first_comparison: Comparison):
    page = first_comparison._repr_html_()
    assert page.count("<table") == 3
    fairness = first_comparison.fairness()
    assert fairness.table().to_html() in page
    shown = page.split("<details>")[0]
    assert fairness.warnings()
    assert all(line in shown for line in (fairness.selection, *fairness.warnings()))  # who looks sees the warnings
    assert repr(first_comparison.fairness()) in repr(first_comparison)
    assert "Linear probe" in page
    assert all(line.title in page for line in first_comparison.baselines)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"methods": ["lora", "lorra"]}, UnknownNameError, "Did you mean 'lora'"),
        ({"methods": []}, FtkitError, "at least one method"),
        ({"methods": ["full"], "seeds": 0}, FtkitError, "at least one seed"),
        ({"methods": ["lora", LoRA(rank=2)]}, FtkitError, "'lora' comes twice"),
        ({"methods": ["full"], "seeds": [0, 1, 0]}, FtkitError, "Seed 0 comes twice"),
        ({"methods": ["full"], "seeds": [-1]}, FtkitError, "Seed -1: a seed is a whole number from 0"),
        ({"methods": ["full"], "seeds": [0.5]}, FtkitError, r"Seed 0\.5: a seed"),
        ({"methods": ["full"], "trials": 0}, FtkitError, "trials = 0, choices = 2: try one learning rate or more"),
        ({"methods": ["full"], "choices": -1}, FtkitError, "choices = -1"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(
    own_reviews: Task, tmp_path: Path, arguments: dict, error: type[FtkitError], message: str
):
    with pytest.raises(error, match=message):
        compare(own_reviews, folder=tmp_path / "runs", progress=False, **arguments)
    assert not (tmp_path / "runs").exists()


def test_runs_on_different_test_items_are_not_compared(first_comparison: Comparison):
    first, second = first_comparison.runs
    names = [f"other {name}" for name in second.predictions.identifiers]
    other = replace(second, predictions=replace(second.predictions, identifiers=names))
    with pytest.raises(DataError, match="tested on different items"):
        replace(first_comparison, runs=[first, other]).score("linear-probe")


def test_methods_are_tested_against_one_of_them(two_methods: Comparison):
    assert two_methods.differences("linear-probe").keys() == {"lora"}
    test = two_methods.differences("lora")["linear-probe"]
    assert test.difference == pytest.approx(
        two_methods.score("linear-probe").value - two_methods.score("lora").value, abs=1e-9
    )
    with pytest.raises(FtkitError, match=r"holds no 'full'\. It holds linear-probe, lora"):
        two_methods.differences("full")


def test_only_methods_without_recorded_trials_are_tried(
    tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tried: list[str] = []

    def tune(task: Task, methods: list, path: Path, **_: object) -> Trials:
        tried.extend(method.name for method in methods)
        return Trials(task.name, task.fingerprint)

    monkeypatch.setattr("ftkit.experiments.comparison.tune", tune)
    board = compare(tiny_task("audio"), ["linear-probe", LoRA(rank=3)], epochs=1, folder=tmp_path, progress=False)
    assert tried == ["lora"]
    recorded = recorded_trials(tiny_task("audio"))
    assert recorded is not None
    assert board.trials is not None
    assert board.trials.of(LinearProbe()) == recorded.of(LinearProbe())


def test_of_a_method_that_is_named_the_best_trial_decides_the_settings_and_one_that_is_given_keeps_its_own(
    own_reviews: Task, tmp_path: Path
):
    methods = ["adapter", LoRA(rank=3)]
    board = compare(own_reviews, methods, epochs=1, trials=1, choices=1, folder=tmp_path, progress=False)
    assert board.trials is not None
    lora, adapter = (board.trials.named(name) for name in ("lora", "adapter"))
    assert len({trial.learning_rate for trial in lora}) == len({trial.settings["width"] for trial in adapter}) == 2
    best = max(adapter, key=lambda trial: (trial.validation_score, -trial.validation_loss))
    assert [run.spec.settings for run in board.runs] == [LoRA(rank=3).settings, best.settings]
    assert [fact.settings_tried for fact in board.fairness().facts] == [1, 2]
    assert board.fairness().table()["settings used"].tolist()[0] == "rank 3"
    assert not any("Unequal" in warning for warning in board.fairness().warnings())


@pytest.mark.parametrize(("choices", "rank"), [(2, 32), (0, 8)])
def test_trials_that_come_with_the_kit_decide_settings_too(
    choices: int, rank: int, tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    task = tiny_task("audio")
    recorded = recorded_trials(task)
    assert recorded is not None
    (usual,) = recorded.of(LoRA())[:1]
    found = {8: 0.8, 2: 0.7, 32: 0.9}
    tried = tuple(
        replace(usual, settings=LoRA(rank=each).settings, learning_rate=2e-3, validation_score=score)
        for each, score in found.items()
    )
    monkeypatch.setattr(
        "ftkit.experiments.comparison.recorded_trials", lambda task: Trials(task.name, task.fingerprint, tried)
    )
    board = compare(task, ["lora"], epochs=1, choices=choices, folder=tmp_path, progress=False)
    assert board.runs[0].spec.settings == LoRA(rank=rank).settings
    assert board.table().index[0] == ("LoRA (rank 32)" if choices else "LoRA")
    assert board.fairness().facts[0].settings_tried == 3


# ------------------------------------------------------------------------------------------------ fairness


def test_the_ledger_says_what_each_method_was_given(first_comparison: Comparison):
    fairness = first_comparison.fairness()
    fact = fairness.facts[0]
    assert fact.method == "linear-probe"
    assert len(fact.rates) == 2
    assert fact.learning_rate in fact.rates
    assert (fact.seeds, fact.epochs, fact.train_examples, fact.trainable, fact.head) == (2, 1, 24, 770, 770)
    assert fairness.table().loc["Linear probe", "trained, head apart"] == "0"
    assert "validation split" in fairness.selection
    assert fairness.selection in repr(fairness)


def test_a_best_rate_at_the_edge_is_warned_of(first_comparison: Comparison):
    warnings = first_comparison.fairness().warnings()  # of two rates, either is an edge
    assert any("edge of the range tried" in line and "linear-probe" in line for line in warnings)


def test_a_rate_that_validation_did_not_choose_is_flagged(first_comparison: Comparison):
    board, facts = first_comparison, first_comparison.fairness().facts
    assert facts[0].best_on_validation
    assert facts[0].test_readings == 1
    assert "chose learning rates and epochs; the test split was read once" in board.fairness().selection
    assert not any("selection on the test" in line or "flattered" in line for line in board.fairness().warnings())
    assert board.trials is not None
    worst = min(board.trials.trials, key=lambda trial: trial.validation_score - trial.validation_loss)
    runs = [replace(run, spec=replace(run.spec, learning_rate=worst.learning_rate)) for run in board.runs]
    other = replace(board, runs=runs).fairness()
    (warning,) = [line for line in other.warnings() if "flattered" in line]
    assert warning.startswith("Not the learning rate that scored best on validation: linear-probe.")
    assert "learning rates" not in other.selection


def test_several_trainings_of_a_seed_are_flagged_as_a_choice_on_the_test(first_comparison: Comparison):
    twice = replace(first_comparison, runs=[*first_comparison.runs, first_comparison.runs[0]]).fairness()
    (warning,) = [line for line in twice.warnings() if "selection on the test" in line]
    assert "(linear-probe 2 times)" in warning
    assert "read once" not in twice.selection


def test_a_best_setting_at_an_end_of_those_tried_is_flagged():
    kit = kit_trials("movie-reviews", 400)
    assert kit is not None
    trial = kit.named("lora")[0]

    def facts(used: int, *ranks: int) -> MethodFacts:
        tried = tuple(replace(trial, settings=LoRA(rank=rank).settings) for rank in ranks)
        given = {"learning_rate": trial.learning_rate, "seeds": 1, "epochs": 3, "train_examples": 400}
        sizes = {"test_readings": 1, "trainable": 10, "head": 1, "processors": ("one",)}
        return with_trials(LoRA(rank=used), replace(kit, trials=tried), **given, **sizes)

    assert facts(8, 2, 8, 32).settings_at_edge == ()
    assert facts(32, 2, 8, 32).settings_at_edge == ("rank",)
    assert facts(8, 8).settings_at_edge == ()  # nothing was chosen
    told = " ".join(Fairness("accuracy", [facts(2, 2, 8)]).warnings())
    assert "Best setting the least or the most of those tried, a better one may lie beyond: lora (rank)." in told
    given = " ".join(Fairness("accuracy", [facts(8, 2, 8)]).warnings())  # of equal trials the first one wins
    assert "Other settings scored better on validation than those used: lora." in given
    assert "Best setting" not in given


def test_ledgers_are_of_tasks_with_one_set_of_trainings_a_method(invented_record: Callable[..., Record]):
    plain = grid(task="movie-reviews", method=["linear-probe", "full"], examples=400)
    several = grid(task="solar-cells", method=["linear-probe", "full"], examples=[100, 400], epochs=[1, 3])
    record = invented_record("some", (*plain, *several), lambda each: 0.7)
    assert list(ledgers(record)) == ["movie-reviews"]


def test_where_data_differ_each_has_a_ledger(invented_record: Callable[..., Record]):
    of_sizes = grid(task="movie-reviews", method=["linear-probe", "full"], examples=[100, 400], epochs=3)
    noisy = grid(task="movie-reviews", method=["linear-probe", "full"], examples=400, label_noise=0.2, epochs=3)
    record = invented_record("some", (*of_sizes, *noisy), lambda each: 0.7)
    assert not ledgers(record)
    found = ledgers_by_data(record)
    told = ["100 examples", "400 examples", "400 examples, 20 % wrong labels"]
    assert list(found) == [("movie-reviews", each) for each in told]
    assert {fact.train_examples for fact in found["movie-reviews", "100 examples"].facts} == {100}


def test_an_experiment_says_where_its_rates_come_from():
    conditions = (*grid(task="movie-reviews", method="lora"), *grid(task="x", method="full", learning_rate=[0.1, 0.2]))
    found = rates_in_words(Experiment("e", "E", "?", conditions))
    assert found == "Learning rates chosen on validation: lora; declared: full 0.1, 0.2."


def test_the_ledger_of_a_record_takes_the_head_from_the_linear_probe(invented_record: Callable[..., Record]):
    conditions = grid(task="movie-reviews", method=["linear-probe", "full"], examples=400, epochs=3, seed=[0, 1, 2])
    made = invented_record("methods", conditions, lambda condition: 0.7)
    record = replace(made, outcomes=tuple(replace(outcome, learning_rate=7e-4) for outcome in made.outcomes))
    fairness = record_fairness(record, "movie-reviews", kit_trials("movie-reviews", 400))
    probe, full = fairness.facts
    assert (probe.method, probe.seeds, probe.epochs, probe.train_examples) == ("linear-probe", 3, 3, 400)
    assert probe.trainable == probe.head == full.head
    assert full.trainable != full.head
    assert len(full.rates) >= 3
    assert 7e-4 not in full.rates
    assert any("not among the recorded trials" in line and "full" in line for line in fairness.warnings())
    untried = record_fairness(record, "movie-reviews", None).warnings()
    assert "Learning rate not among the recorded trials: linear-probe, full." in untried


def test_a_setting_that_older_trials_leave_out_is_the_usual_one(invented_record: Callable[..., Record]):
    record = invented_record("methods", grid(task="movie-reviews", method=["linear-probe", "lora"]), lambda each: 0.7)
    kit = kit_trials("movie-reviews", 400)
    assert kit is not None
    first, *others = (trial for trial in kit.named("lora") if trial.settings == as_method("lora").settings)
    assert others
    older = replace(kit, trials=[replace(first, settings={}), *others, *kit.named("linear-probe")])
    assert [fact.settings_tried for fact in record_fairness(record, "movie-reviews", older).facts] == [1, 1]


def test_the_ledger_warns_of_times_on_different_processors(invented_record: Callable[..., Record]):
    conditions = grid(task="movie-reviews", method=["linear-probe", "full"], examples=400, epochs=3, seed=[0, 1])
    record = invented_record("methods", conditions, lambda condition: 0.7)
    assert not any("processors" in line for line in record_fairness(record, "movie-reviews", None).warnings())
    faster = replace(record.machines[0], processor="faster one")
    moved = [
        replace(outcome, machine=len(record.machines)) if outcome.condition.method == "full" else outcome
        for outcome in record.outcomes
    ]
    mixed = replace(record, machines=(*record.machines, faster), outcomes=tuple(moved))
    (warning,) = [
        line for line in record_fairness(mixed, "movie-reviews", None).warnings() if "different processors" in line
    ]
    assert "their seconds can't be compared" in warning
    assert "on processor: linear-probe; on faster one: full." in warning


def test_a_method_trained_in_several_ways_has_no_line_in_the_ledger(invented_record: Callable[..., Record]):
    conditions = grid(task="movie-reviews", method=["linear-probe", "full"], learning_rate=[1e-4, 1e-3], seed=[0, 1])
    record = invented_record("rates", conditions, lambda condition: 0.7)
    with pytest.raises(FtkitError, match="rates trains linear-probe on movie-reviews in several ways"):
        record_fairness(record, "movie-reviews", None)


def test_a_record_without_a_linear_probe_has_no_ledger(invented_record: Callable[..., Record]):
    record = invented_record("methods", grid(task="movie-reviews", method="full", seed=[0, 1]), lambda condition: 0.7)
    with pytest.raises(FtkitError, match="no linear probe on movie-reviews"):
        record_fairness(record, "movie-reviews", None)


def test_the_ledger_warns_of_trials_over_other_epochs(first_comparison: Comparison):
    assert first_comparison.trials is not None
    assert not any("epochs" in line for line in first_comparison.fairness().warnings())
    longer = [replace(trial, epochs=3) for trial in first_comparison.trials.trials]
    mixed = replace(first_comparison, trials=replace(first_comparison.trials, trials=tuple(longer)))
    (warning,) = [line for line in mixed.fairness().warnings() if "epochs" in line]
    assert "tried over 3 epochs, the training had 1, where another rate may be the best: linear-probe." in warning


@pytest.fixture
def two_methods(first_comparison: Comparison, cell: Callable) -> Comparison:
    other = first_comparison.runs[0]
    lora = replace(other, spec=replace(other.spec, method="lora", settings=LoRA().settings))
    return replace(first_comparison, runs=[*first_comparison.runs, lora])


def test_unequal_seeds_and_trials_are_warned_of(two_methods: Comparison):
    warnings = two_methods.fairness().warnings()
    assert "Unequal number of seeds: linear-probe 2, lora 1." in warnings
    assert "Unequal number of trials: linear-probe 2, lora 0." in warnings
    assert "Learning rate not among the recorded trials: lora." in warnings


def test_equal_treatment_needs_no_such_warning(first_comparison: Comparison):
    assert not any("Unequal" in line for line in first_comparison.fairness().warnings())


def test_unequal_data_and_epochs_are_warned_of(two_methods: Comparison):
    *probes, lora = two_methods.runs
    longer = replace(lora, spec=replace(lora.spec, epochs=9, train_examples=1000))
    warnings = replace(two_methods, runs=[*probes, longer]).fairness().warnings()
    assert "Unequal number of epochs: linear-probe 1, lora 9." in warnings
    assert "The methods trained on different numbers of examples." in warnings


def test_trials_on_another_number_of_examples_are_warned_of(two_methods: Comparison):
    assert two_methods.trials is not None
    assert not any("were tried on" in line for line in two_methods.fairness().warnings())
    first = two_methods.trials.trials[0]
    larger = replace(first, method="lora", settings=LoRA().settings, train_examples=1999)
    trials = replace(two_methods.trials, trials=(*two_methods.trials.trials, larger))
    (warning,) = (line for line in replace(two_methods, trials=trials).fairness().warnings() if "were tried on" in line)
    assert warning.startswith("Learning rates were tried on 1,999 examples, the training had 24, ")
    assert warning.endswith(": lora.")
