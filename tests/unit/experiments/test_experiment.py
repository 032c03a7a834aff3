from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Event, Thread, Timer

import numpy as np
import pytest

from ftkit.errors import FtkitError, TrainingError
from ftkit.experiments import running
from ftkit.experiments.condition_data import load, of_kind, with_label_noise
from ftkit.experiments.experiment import Condition, Experiment, grid
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.measures import MEASURES
from ftkit.experiments.record import BaselineOutcome, Outcome, Record, load_record, record_path
from ftkit.experiments.revision import revision
from ftkit.experiments.run import Run
from ftkit.experiments.running import claim_path, run_experiment, run_experiments, train
from ftkit.experiments.trials import usual_rate
from ftkit.methods import METHODS, as_method
from ftkit.paths import claimed
from ftkit.tasks import TASKS, Task


@pytest.fixture
def small(tiny_task: Callable[[str], Task], monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment of four real trainings on a few recordings."""
    monkeypatch.setattr("ftkit.experiments.running.load", lambda condition: tiny_task("audio"))
    rate = 1e-3  # the usual one would be that of the whole task
    conditions = grid(task="spoken-digits", method=["linear-probe", "full"], learning_rate=rate, epochs=1, seed=[0, 1])
    return Experiment("small", "Small", "Does it run?", conditions, measures=("moved weights",))


def test_a_grid_is_every_combination():
    made = grid(task="movie-reviews", method=["full", "lora"], examples=[8, 16], epochs=2, seed=[0, 1, 2])
    assert len(made) == len({repr(condition) for condition in made}) == 12
    assert {condition.epochs for condition in made} == {2}


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_the_experiments_of_the_kit_name_what_there_is(name: str):
    experiment = EXPERIMENTS[name]
    assert experiment.name == name
    assert set(experiment.measures) <= set(MEASURES)
    for index, condition in enumerate(experiment.conditions):
        assert condition not in experiment.conditions[:index]
        method = as_method(condition.method, **condition.settings)
        method.check_applies(TASKS[condition.task].modality)
        assert method.name in METHODS


def test_trainings_on_the_same_data_are_made_one_after_the_other(
    tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    loaded: list[tuple] = []

    def load_once(condition: Condition) -> Task:
        loaded.append(condition.data)
        return tiny_task("audio")

    monkeypatch.setattr("ftkit.experiments.running.load", load_once)
    methods = ["linear-probe", "bitfit"]
    conditions = grid(task="spoken-digits", method=methods, examples=20, epochs=1, seed=[0, 1])
    record = run_experiment(Experiment("two", "Two", "?", conditions), tmp_path)
    made = [(outcome.condition.method, outcome.condition.seed) for outcome in record.outcomes]
    assert made == [("linear-probe", 0), ("bitfit", 0), ("linear-probe", 1), ("bitfit", 1)]
    assert [data[-1] for data in loaded] == [0, 1, 0, 1]  # for the trainings, then for what is fitted beside them


def test_an_experiment_that_was_stopped_goes_on_without_losing_or_repeating_anything(small: Experiment, tmp_path: Path):
    path, seen = tmp_path / "small.json", []

    def stop(outcome: Outcome, left: int) -> None:
        seen.append((outcome.condition, left))
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(small, tmp_path, stop)
    kept = Record.load(path)
    assert [outcome.condition for outcome in kept.outcomes] == list(small.conditions[:2])
    whole = run_experiment(small, tmp_path, stop)
    assert [condition for condition, _ in seen] == list(small.conditions)
    assert [left for _, left in seen] == [3, 2, 1, 0]
    assert whole.outcomes[:2] == kept.outcomes
    assert Record.load(path) == whole
    assert run_experiment(small, tmp_path) == whole


def test_a_training_that_was_whole_when_the_experiment_was_stopped_is_measured_and_kept(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stopped(condition: Condition, task: Task) -> Run:
        run = train(condition, task)
        run.stopped = True  # Ctrl-C while the test was answered
        return run

    with monkeypatch.context() as patch:
        patch.setattr("ftkit.experiments.running.train", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(small, tmp_path)
    (kept,) = Record.load(tmp_path / "small.json").outcomes
    assert kept.condition == small.conditions[0]
    assert set(kept.measures) == set(small.measures)
    assert run_experiment(small, tmp_path).outcomes[0] == kept


def _make(experiment: Experiment, task: Task, folder: Path) -> None:
    running.load = lambda condition: task
    run_experiment(experiment, folder)


def test_a_process_that_is_killed_loses_no_finished_training(
    small: Experiment, tmp_path: Path, tiny_task: Callable[[str], Task]
):
    path = tmp_path / "small.json"
    process = multiprocessing.get_context("spawn").Process(target=_make, args=(small, tiny_task("audio"), tmp_path))
    process.start()
    while process.is_alive() and not path.is_file():
        time.sleep(0.05)
    process.kill()
    process.join()
    kept = Record.load(path)
    whole = run_experiment(small, tmp_path)
    assert [outcome.condition for outcome in whole.outcomes] == list(small.conditions)
    assert whole.outcomes[: len(kept.outcomes)] == kept.outcomes
    assert process.exitcode == -signal.SIGKILL
    assert 1 <= len(kept.outcomes) < len(small.conditions)


def test_a_training_that_another_experiment_holds_with_all_its_measures_is_taken_from_there(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    measured = replace(small, name="moved-weights", conditions=small.conditions[:2])
    (first, second) = run_experiment(measured, tmp_path).outcomes

    def refuse(condition: Condition, task: Task) -> Run:
        raise LookupError("trained")

    monkeypatch.setattr("ftkit.experiments.running.train", refuse)
    plain = replace(small, name="methods", conditions=tuple(reversed(measured.conditions)), measures=())
    taken = run_experiment(plain, tmp_path)
    assert taken.outcomes == (replace(second, measures={}), replace(first, measures={}))
    assert taken.machines == Record.load(tmp_path / "moved-weights.json").machines
    with pytest.raises(LookupError, match="trained"):
        run_experiment(replace(measured, name="layers"), tmp_path / "elsewhere")
    of_another = Record.load(tmp_path / "moved-weights.json")
    (here,) = of_another.machines
    of_another = replace(of_another, machines=(replace(here, processor="another"),))
    of_another.save(tmp_path / "another" / "moved-weights.json")
    with pytest.raises(LookupError, match="trained"):  # whose seconds would not compare
        run_experiment(plain, tmp_path / "another")
    (tmp_path / "moved-weights.json").unlink()
    with pytest.raises(LookupError, match="trained"):  # methods measured nothing
        run_experiment(measured, tmp_path)


def test_a_training_that_several_experiments_want_is_made_once_with_all_measures(small: Experiment, tmp_path: Path):
    some = small.conditions[1:3]
    experiments = [
        replace(small, name="methods", conditions=some, measures=()),
        replace(small, name="moved-weights", conditions=small.conditions),
        replace(small, name="layers", conditions=some[:1], measures=("layers",)),
    ]
    made: list[tuple[Outcome, int]] = []
    records = run_experiments(experiments, tmp_path, lambda outcome, left: made.append((outcome, left)))
    assert [left for _, left in made] == [3, 2, 1, 0]
    assert [set(outcome.measures) for outcome, _ in made] == [
        {"moved weights", "layers"},
        {"moved weights"},
        {"moved weights"},
        {"moved weights"},
    ]
    assert [[set(outcome.measures) for outcome in record.outcomes] for record in records] == [
        [set()] * 2,
        [{"moved weights"}] * 4,
        [{"layers"}],
    ]
    trained = [{outcome.training: outcome.seconds for outcome in record.outcomes} for record in records]
    assert trained[0].items() | trained[2].items() <= trained[1].items()


def test_two_processes_on_one_record_lose_nothing_and_make_nothing_twice(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    others: list[Outcome] = []
    trained: list[Condition] = []

    def counting(condition: Condition, task: Task) -> Run:
        trained.append(condition)
        return train(condition, task)

    monkeypatch.setattr("ftkit.experiments.running.train", counting)

    def make_the_rest_meanwhile(outcome: Outcome, left: int) -> None:
        if not others:
            others.extend(run_experiment(small, tmp_path).outcomes)

    record = run_experiment(small, tmp_path, make_the_rest_meanwhile)
    assert list(record.outcomes) == others
    assert [outcome.condition for outcome in others] == list(small.conditions) == trained


@pytest.mark.parametrize("finishes", [True, False])
def test_what_another_process_is_training_is_left_to_it(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_task: Callable[[str], Task], finishes: bool
):
    """Another process trains the first condition while the others are made here; then it is done, or killed."""
    first = small.conditions[0]
    elsewhere = run_experiment(replace(small, conditions=(first,)), tmp_path / "elsewhere")
    theirs = replace(elsewhere.outcomes[0], total_seconds=1e6)  # as no other training takes
    trained: list[Condition] = []

    def counting(condition: Condition, task: Task) -> Run:
        trained.append(condition)
        return train(condition, task)

    monkeypatch.setattr("ftkit.experiments.running.train", counting)
    with ExitStack() as other:
        assert other.enter_context(claimed(claim_path(first, tmp_path), wait=False))

        def end_of_the_other(outcome: Outcome, left: int) -> None:
            if left == 1:
                if finishes:
                    path = tmp_path / "small.json"
                    Record.load(path).adding(theirs, tiny_task("audio"), elsewhere.machines[0]).save(path)
                other.close()

        record = run_experiment(small, tmp_path, end_of_the_other)
    assert trained == [*small.conditions[1:], *([] if finishes else [first])]
    assert [outcome.condition for outcome in record.outcomes] == [*small.conditions[1:], first]
    assert (record.outcomes[-1] == theirs) == finishes


def test_to_wait_for_another_process_takes_no_time_of_a_training(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @contextmanager
    def after_a_while(path: Path, wait: bool) -> Iterator[bool]:
        time.sleep(1.0)
        with claimed(path, wait=wait) as ours:
            yield ours

    monkeypatch.setattr("ftkit.experiments.running.claimed", after_a_while)
    began = time.perf_counter()
    (outcome,) = run_experiment(replace(small, conditions=small.conditions[:1]), tmp_path).outcomes
    assert outcome.total_seconds < time.perf_counter() - began - 0.9


def test_a_training_that_diverges_keeps_no_other_from_being_made(small: Experiment, tmp_path: Path):
    first, *_, last = small.conditions
    hopeless = replace(small.conditions[2], learning_rate=1e38)
    some = replace(small, conditions=(first, hopeless, last))
    made: list[Condition] = []
    with pytest.raises(TrainingError, match=r"(?s)All but these are made and kept:.*'full'.*learning rate 1e\+38"):
        run_experiment(some, tmp_path, lambda outcome, _: made.append(outcome.condition))
    assert made == [first, last]
    assert [outcome.condition for outcome in Record.load(tmp_path / "small.json").outcomes] == made


def test_a_training_at_a_usual_rate_of_before_is_made_again(small: Experiment, tmp_path: Path):
    path = tmp_path / "small.json"
    usual = tuple(replace(condition, learning_rate=None) for condition in small.conditions[:1])
    made = run_experiment(replace(small, conditions=usual), tmp_path)
    rate = usual_rate("spoken-digits", as_method("linear-probe"), TASKS["spoken-digits"].default_train)
    now = replace(made, outcomes=(replace(made.outcomes[0], learning_rate=rate),))
    assert now.up_to_date() == now
    before = replace(made, outcomes=(replace(made.outcomes[0], learning_rate=rate / 3),))
    assert before.up_to_date().outcomes == ()
    assert [record.done(usual[0]) for record in (now, before)] == [True, False]
    before.save(path)
    (again,) = run_experiment(replace(small, conditions=usual), tmp_path).outcomes
    assert again.learning_rate == rate


def test_what_the_kit_asks_no_more_goes_when_the_record_is_added_to(
    tmp_path: Path, tiny_task: Callable[[str], Task], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ftkit.experiments.running.load", lambda condition: tiny_task("audio"))
    asked = next(each for each in EXPERIMENTS["methods"].conditions if each.method == "partial")
    other_depth = replace(asked, task="spoken-digits", settings={"blocks": 3})
    of_before, now = (replace(EXPERIMENTS["methods"], conditions=(each,)) for each in (other_depth, asked))
    assert len(run_experiment(of_before, tmp_path).outcomes) == 1
    assert [outcome.condition for outcome in run_experiment(now, tmp_path).outcomes] == [asked]


def test_what_is_out_of_date_stays_until_it_is_made_again(small: Experiment, tmp_path: Path):
    usual = tuple(replace(condition, learning_rate=None) for condition in small.conditions[:2])
    made = run_experiment(replace(small, conditions=usual), tmp_path)
    before = replace(
        made, outcomes=tuple(replace(each, learning_rate=each.learning_rate / 3) for each in made.outcomes)
    )
    before.save(tmp_path / "small.json")
    seen: list[Outcome] = []

    def stop(outcome: Outcome, left: int) -> None:
        seen.append(outcome)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(replace(small, conditions=usual), tmp_path, stop)
    kept = Record.load(tmp_path / "small.json").outcomes
    assert kept == (before.outcomes[1], replace(seen[0], machine=kept[1].machine))


def test_two_ways_to_write_one_training_agree():
    short = Condition("movie-reviews", "lora", seed=1, options={"patience": 2, "dropout": 0.1})
    long = replace(short, settings={"rank": 8}, learning_rate=3e-3, epochs=3, options={"dropout": 0.1, "patience": 2})
    assert short.training(3e-3, 3) == long.training(3e-3, 3)
    assert short.training(3e-3, 3) != short.training(1e-3, 3) != replace(short, seed=2).training(1e-3, 3)


def test_an_outcome_says_what_the_run_said(small: Experiment, tmp_path: Path, tiny_task: Callable[[str], Task]):
    task = tiny_task("audio")
    record = run_experiment(replace(small, conditions=small.conditions[-1:]), tmp_path)
    (outcome,) = record.outcomes
    assert outcome.scores["accuracy"] == pytest.approx(np.mean(outcome.predicted() == task.test.labels), abs=1e-5)
    assert record.tests["spoken-digits"].labels == "".join(map(str, task.test.labels))
    assert date.fromisoformat(outcome.created) <= datetime.now(UTC).date()
    assert outcome.total_seconds > outcome.seconds > 0
    moved = outcome.measures["moved weights"]
    assert moved["stages"] == ["input", "layer 1", "layer 2", "layer 3", "layer 4"]
    assert min(moved["relative_change"]) > 0
    assert min(moved["effective_rank"]) > 1
    assert len(moved["directions"]) == len(moved["spectrum"])
    assert 0 < moved["spectrum"][0] < 1
    assert moved["spectrum"] == sorted(moved["spectrum"])


def test_a_probe_moves_nothing(small: Experiment, tmp_path: Path):
    record = run_experiment(replace(small, conditions=small.conditions[:1]), tmp_path)
    moved = record.outcomes[0].measures["moved weights"]
    assert moved["relative_change"] == moved["effective_rank"] == [0.0] * 5
    assert set(moved["spectrum"]) == {0.0}


def test_outcomes_on_other_test_items_are_not_mixed(
    small: Experiment, tmp_path: Path, tiny_task: Callable[[str], Task]
):
    record = run_experiment(replace(small, conditions=small.conditions[:1]), tmp_path)
    task = tiny_task("audio")
    fewer = replace(task, test=task.test.take(range(8)))
    with pytest.raises(FtkitError, match="not the one that small began with"):
        record.adding(record.outcomes[0], fewer, record.machines[0])


def test_a_record_that_goes_on_elsewhere_tells_which_machine_made_what(
    small: Experiment, tmp_path: Path, tiny_task: Callable[[str], Task]
):
    path = tmp_path / "small.json"
    record = run_experiment(replace(small, conditions=small.conditions[:1]), tmp_path)
    (here,), (first,) = record.machines, record.outcomes
    elsewhere = replace(here, threads=here.threads + 1)
    record.adding(first, tiny_task("audio"), elsewhere).adding(first, tiny_task("audio"), here).save(path)
    kept = Record.load(path)
    assert kept.machines == (here, elsewhere)
    assert [outcome.machine for outcome in kept.outcomes] == [0, 1, 0]
    assert first.commit == revision()


def test_a_record_that_does_not_come_with_the_kit_is_named_with_those_that_do():
    with pytest.raises(FtkitError, match=r"No record of 'nothing' comes with the kit; there are: .*methods"):
        load_record("nothing")
    assert load_record("methods").outcomes


def test_outcomes_are_found_by_what_they_were_trained_with():
    made = grid(task="movie-reviews", method="lora", settings=[{"rank": 2}, {"rank": 8}], seed=[0, 1])
    assert [each.matches({"settings.rank": 2, "seed": [0, 1]}) for each in made] == [True, True, False, False]
    assert [replace(made[0], learning_rate=rate).matches({"learning_rate": "chosen"}) for rate in (None, 1e-3)] == [
        True,
        False,
    ]
    with pytest.raises(FtkitError, match="no 'rate'"):
        made[0].matches({"rate": 1})


@pytest.mark.parametrize("classes", [2, 10])
def test_wrong_labels_are_as_many_as_asked_and_truly_wrong(small_task: Callable[[str], Task], classes: int):
    split = small_task("text" if classes == 2 else "audio").train
    noisy = with_label_noise(split, 0.25, classes, seed=1)
    assert (noisy.labels != split.labels).sum() == round(0.25 * len(split))
    assert set(noisy.labels) <= set(range(classes))
    assert noisy.items is split.items
    again, other = (with_label_noise(split, 0.25, classes, seed=seed).labels for seed in (1, 2))
    assert (again == noisy.labels).all()
    assert (other != noisy.labels).any()


def test_a_seed_draws_its_own_examples_and_a_condition_its_labels():
    first, second = (load(Condition("movie-reviews", "full", examples=40, seed=seed)) for seed in (0, 1))
    assert set(first.train.identifiers) != set(second.train.identifiers)
    assert list(first.test.identifiers) == list(second.test.identifiers)
    noisy = load(Condition("movie-reviews", "full", examples=40, seed=0, label_noise=0.5))
    assert list(noisy.train.identifiers) == list(first.train.identifiers)
    assert (noisy.train.labels != first.train.labels).sum() == 20
    assert (noisy.validation.labels == first.validation.labels).all()


def test_a_kind_is_kept_in_training_and_all_kinds_in_the_test(small_task: Callable[[str], Task]):
    task = small_task("image")
    mono = of_kind(task, "mono")
    assert 0 < len(mono.train) < len(task.train)
    assert all(name.startswith("mono/") for split in (mono.train, mono.validation) for name in split.identifiers)
    assert mono.test is task.test
    with pytest.raises(FtkitError, match=r"no items of kind 'stereo'\. It has: mono, poly"):
        of_kind(task, "stereo")


def test_what_a_condition_calls_repaired_lacks_most_wrong_labels_and_few_others():
    wanted = Condition("spoken-digits", "linear-probe", examples=400, seed=0, label_noise=0.2)
    noisy, right = load(wanted).train, load(replace(wanted, label_noise=0.0)).train
    repaired = load(replace(wanted, repaired=True)).train
    wrong = set(noisy.identifiers[noisy.labels != right.labels])
    taken_out = set(noisy.identifiers) - set(repaired.identifiers)
    assert len(wrong & taken_out) / len(wrong) > 0.5
    assert len(wrong & taken_out) / len(taken_out) > 0.8


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_the_records_of_the_kit_are_whole_and_at_the_rates_of_its_trials(name: str):
    record = load_record(name)
    assert record.up_to_date() == record
    assert all(record.done(condition) for condition in EXPERIMENTS[name].conditions)
    assert len(record.outcomes) == len(EXPERIMENTS[name].conditions)


def test_the_record_of_the_kit_is_beside_the_other_evidence():
    assert record_path("methods").parts[-3:] == ("evidence", "experiments", "methods.json")


def test_a_classical_method_is_fitted_once_on_every_set_of_data(small: Experiment, tmp_path: Path):
    told: list[BaselineOutcome] = []
    (record,) = run_experiments([small], tmp_path, on_baseline=told.append)
    assert list(record.baselines) == told
    (made,) = record.baselines  # four trainings on the same data
    assert (made.condition.method, made.title) == ("mfcc-logistic", "Mel cepstra + logistic regression")
    assert record.has_baseline(small.conditions[-1])
    assert len(made.predicted()) == len(record.tests["spoken-digits"].labels)
    assert not record.has_baseline(replace(small.conditions[0], label_noise=0.2))
    run_experiments([small], tmp_path, on_baseline=told.append)
    assert len(told) == 1


def test_a_baseline_that_another_process_is_fitting_is_waited_for(small: Experiment, tmp_path: Path):
    """The other one may fit it for another experiment, or be killed."""
    data = tmp_path / running._hashed(repr(small.conditions[0].data))
    holds, leave = Event(), Event()

    def fitting() -> None:
        with claimed(data, wait=False):
            holds.set()
            leave.wait(timeout=60)

    other = Thread(target=fitting)
    other.start()
    assert holds.wait(timeout=60)
    record = run_experiments([small], tmp_path, on_outcome=lambda _, left: left or Timer(0.5, leave.set).start())[0]
    other.join()
    assert len(record.baselines) == 1


def test_a_baseline_of_another_experiment_is_taken_over(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run_experiment(replace(small, name="layers"), tmp_path)

    def never(task: Task) -> None:
        raise AssertionError

    monkeypatch.setattr("ftkit.experiments.running.fit_baselines", never)
    assert run_experiment(small, tmp_path).baselines == Record.load(tmp_path / "layers.json").baselines
