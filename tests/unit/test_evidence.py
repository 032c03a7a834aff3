"""The page of the recorded experiments and the check that trains some again."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ftkit.evaluation import Score
from ftkit.experiments.claims import judge_all, load_claims
from ftkit.experiments.experiment import Condition, Experiment, grid
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.record import Record, as_digits
from ftkit.experiments.running import run_experiment
from ftkit.experiments.trials import kit_trials
from ftkit.paths import data_folder
from ftkit.tasks import TASKS, Task

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def tool() -> Iterator[Callable[[str], ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        yield importlib.import_module


# ------------------------------------------------------------------------------------------------ page


@pytest.fixture(scope="module")
def evidence(
    tmp_path_factory: pytest.TempPathFactory,
    invented_record: Callable[..., Record],
    tool: Callable[[str], ModuleType],
) -> Path:
    """A folder with one whole record and one that has only begun, a figure of earlier, and the page."""
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "figures").mkdir()
    (folder / "figures" / "old.png").touch()
    for name, share in (("learning-rates", 1.0), ("regularizers", 0.5)):
        conditions = EXPERIMENTS[name].conditions
        some = conditions[: round(share * len(conditions))]
        record = invented_record(name, some, lambda condition: 0.7 + 0.01 * len(condition.method))
        record.save(folder / "experiments" / f"{name}.json")
    assert tool("evidence_page").write_page(folder) == folder / "README.md"
    return folder


def test_the_page_says_what_methods_were_given_or_where_rates_come_from(
    invented_record: Callable[..., Record], tool: Callable[[str], ModuleType], tmp_path: Path
):
    conditions = grid(task="movie-reviews", method=["linear-probe", "full"], examples=400, epochs=3, seed=[0, 1])
    kit = kit_trials("movie-reviews", 400)
    assert kit is not None
    kit.save(tmp_path / "tuning" / "movie-reviews-400.json")
    path = tmp_path / "experiments" / "methods.json"
    invented_record("methods", conditions, lambda each: 0.7).save(path)
    text = tool("evidence_page").write_page(tmp_path).read_text(encoding="utf-8")
    rates = ", ".join(f"{rate:g}" for rate in sorted({each.learning_rate for each in kit.named("full")}))
    assert "What each method was given: movie reviews" in text
    full = next(line for line in text.splitlines() if line.startswith("| Full fine-tuning | 70.0 % ("))
    seconds = [outcome.seconds for outcome in Record.load(path).where(method="full")]
    assert f"| {np.mean(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f}) |" in full
    assert f"| Full fine-tuning | {len(kit.named('full'))} | {rates} | 1 | usual | 0.001 |" in text
    assert "How far from " in text
    difference = r"^\| (Full fine-tuning|Linear probe) \| [+-]\d\.\d points \(.*\), p = [\d.]+ \|$"
    assert re.search(difference, text, re.MULTILINE)
    assert "the test split was read once" in text
    invented_record("methods", conditions[2:], lambda each: 0.7).save(path)
    text = tool("evidence_page").write_page(tmp_path).read_text(encoding="utf-8")
    assert "What each method was given" not in text
    assert "Learning rates chosen on validation: scratch, linear-probe, " in text


def test_the_page_shows_every_experiment_and_its_figures_with_their_descriptions(
    evidence: Path, tool: Callable[[str], ModuleType]
):
    text = (evidence / "README.md").read_text(encoding="utf-8")
    assert "processor, cores: 2, threads: 2, 8 GB of memory, Linux x86_64, Python 3.11.7; ftkit 0." in text
    made = Record.load(evidence / "experiments/learning-rates.json").outcomes
    assert f"Trainings: learning-rates {len(made)}, regularizers " in text
    seconds, days = sum(outcome.seconds for outcome in made), sorted(outcome.created for outcome in made)
    count = len(EXPERIMENTS["learning-rates"].conditions)
    assert not all(outcome.total_seconds for outcome in made)
    everything = f"over {sum(outcome.total_seconds or outcome.seconds for outcome in made):,.0f}"
    assert "Movie reviews: 400 training examples, 3 epochs, 5 seeds." in text
    assert (
        f"| {count} of {count} | {seconds:,.0f} | {everything} | {days[0]} to {days[-1]} | not kept, 83bc2a4d0f1e |"
        in text
    )
    assert days[0] < days[-1]
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) > 1
    for found in tables:
        assert len({line.count(" | ") for line in found.splitlines()}) == 1, found
    declared = len(EXPERIMENTS["regularizers"].conditions)
    half = Record.load(evidence / "experiments/regularizers.json")
    current = len(half.up_to_date().outcomes)
    assert 0 < current < len(half.outcomes) == round(declared / 2)
    overtaken = f"{len(half.outcomes) - current} more at rates of earlier trials"
    assert f"| {current} of {declared}, {overtaken} |" in text
    for name, experiment in EXPERIMENTS.items():
        assert experiment.question in text, name
    measured = [each for each in judge_all(load_claims(), evidence / "experiments") if each.verdict != "not measured"]
    groups = {each.claim.group for each in measured}
    assert groups
    pictures = dict(re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text))
    assert set(pictures.values()) == {
        "figures/learning-rates.png",
        "figures/regularizers-movie-reviews.png",
        "figures/regularizers-solar-cells.png",
        "figures/verdicts.png",
        *(f"figures/claims-{group.replace(' ', '-')}.png" for group in groups),
    }
    assert all((evidence / path).is_file() for path in pictures.values())
    assert any("Prompt tuning: best on validation at" in description for description in pictures)
    assert "What each method was given" not in text  # their rates are part of the question
    headings = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"#+ (.+)", text)}
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(links) > len(EXPERIMENTS) / 10
    assert set(links) <= headings
    assert "What it decides:" in text


def test_the_page_gives_the_claims_with_effect_and_verdict(evidence: Path):
    text = (evidence / "README.md").read_text(encoding="utf-8")
    rows = [
        line.split(" | ")
        for line in text.splitlines()
        if re.search(r"\| (holds|does not hold here|undecided|not measured) \|", line)
    ]
    assert len(rows) == len(load_claims())
    assert any(re.fullmatch(r"[+-]\d+\.\d points \([+-].* to [+-].*\)", row[4]) for row in rows)
    assert all(re.fullmatch(r"(above|below|within) .*(points|times)", row[5]) for row in rows)
    assert all((row[6] == "not measured") == (row[4] == "") for row in rows)


def test_the_verdicts_of_the_kit_are_those_that_its_records_give():
    page = (data_folder() / "evidence" / "README.md").read_text(encoding="utf-8")
    for judgement in judge_all(load_claims()):
        claim = judgement.claim
        effect = [judgement.effect_in_words, claim.rule_in_words, judgement.verdict]
        words = [claim.statement, claim.experiment, claim.compared, *effect]
        assert judgement.verdict != "not measured", claim.name
        assert f"| {' | '.join(words)} | {claim.source} |" in page, claim.name


def test_a_figure_that_is_no_longer_drawn_is_removed(evidence: Path):
    assert not (evidence / "figures" / "old.png").exists()


def test_without_a_record_the_page_says_so(tmp_path: Path, tool: Callable[[str], ModuleType]):
    text = tool("evidence_page").write_page(tmp_path).read_text(encoding="utf-8")
    assert text.count("| 0 of ") == len(EXPERIMENTS)
    assert f"holds: 0; does not hold here: 0; undecided: 0; not measured: {len(load_claims())}." in text


# ------------------------------------------------------------------------------------------------ make

WAITS = """
import pathlib, sys, time
folder, mine, other = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
(folder / mine).touch()
until = time.monotonic() + 30
while not (folder / other).exists():
    assert time.monotonic() < until, "the other one was not begun meanwhile"
    time.sleep(0.01)
"""


def job(tool: Callable[[str], ModuleType], name: str, code: str, *words: object) -> Any:
    return tool("evidence_make").Job(name, (sys.executable, "-c", code, *map(str, words)))


def test_commands_run_side_by_side_with_the_processors_shared(
    tool: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(tool("evidence_make"), "usable_cores", lambda: 6)
    tells = WAITS + "import os\nfor _ in range(500): print(os.environ['OMP_NUM_THREADS'])"
    jobs = [job(tool, "one", tells, tmp_path, "one", "two"), job(tool, "two", tells, tmp_path, "two", "one")]
    assert tool("evidence_make").run_all(jobs, workers=2) == []
    assert sorted(capfd.readouterr().out.splitlines()) == ["one: 3"] * 500 + ["two: 3"] * 500


def test_a_command_that_fails_is_named_and_the_others_go_on(
    tool: Callable[[str], ModuleType], capfd: pytest.CaptureFixture[str]
):
    jobs = [job(tool, "bad", "raise SystemExit('no such file')"), job(tool, "good", "print('done')")]
    assert tool("evidence_make").run_all(jobs, workers=1) == ["bad"]
    assert capfd.readouterr().out.splitlines() == ["bad: no such file", "good: done"]


def test_trials_come_before_experiments_which_need_them(
    tool: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    module = tool("evidence_make")
    begun: list[list[str]] = []
    outcomes = iter([[], [], ["tune solar-cells-400"], []])

    def run_all(jobs: Sequence[Any], workers: int) -> list[str]:
        begun.append([each.name for each in jobs])
        return next(outcomes)

    monkeypatch.setattr(module, "run_all", run_all)
    assert module.make(tmp_path, list(EXPERIMENTS), workers=2) == []
    assert begun[0] == [f"tune {each.task}-{each.examples}" for each in module.SEARCHES]
    assert {each.task for each in module.SEARCHES} == set(TASKS)
    # from the most trainings to the fewest, and again, so that who is free helps with what is left
    assert begun[1] == 2 * ["movie-reviews", "solar-cells", "spoken-digits"]
    assert module.make(tmp_path, list(EXPERIMENTS)) == ["tune solar-cells-400"]
    assert len(begun) == 3
    assert module.make(tmp_path, ["sizes"], workers=1) == []
    assert begun[3] == ["movie-reviews"]


def test_every_experiment_is_made_on_each_of_its_tasks(tool: Callable[[str], ModuleType], tmp_path: Path):
    jobs = tool("evidence_make").experiments(tmp_path, ["sizes", "methods", "other-kind"])
    said = {each.name: list(each.command[each.command.index("experiment") + 1 :]) for each in jobs}
    assert said == {
        task: [*names, "--task", task, "--folder", str(tmp_path / "experiments")]
        for task, names in {
            "movie-reviews": ["sizes", "methods"],
            "solar-cells": ["methods", "other-kind"],
            "spoken-digits": ["methods"],
        }.items()
    }


def test_an_unknown_experiment_is_named_with_those_that_there_are():
    found = subprocess.run(
        [sys.executable, TOOLS / "evidence.py", "make", "sizez"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert f"no experiment 'sizez'; there are {', '.join(EXPERIMENTS)}" in " ".join(found.stderr.split())


# ------------------------------------------------------------------------------------------------ check


@pytest.fixture
def made(tmp_path: Path, tiny_task: Callable[[str], Task], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the record of one real training."""
    monkeypatch.setattr("ftkit.experiments.running.load", lambda condition: tiny_task("audio"))
    conditions = grid(task="spoken-digits", method="full", learning_rate=1e-3, epochs=1)
    run_experiment(Experiment("small", "Small", "Does it run?", conditions, ("moved weights",)), tmp_path)
    return tmp_path


def test_a_training_that_is_made_again_gives_the_recorded_score(
    made: Path, tool: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
):
    assert tool("evidence_check").check(made, count=6, seed=0)
    printed = capsys.readouterr().out
    assert re.search(
        r"small +spoken-digits, full, learning rate 0.001, epochs 1, seed 0 .*100% +100% +\d+ s +\d+ s  agrees", printed
    )
    assert "1 of 1 agree" in printed
    assert re.search(r"They took \d+\.\d\d times the recorded time of a processor", printed)


def test_what_a_check_found_is_kept_and_told_on_the_page(made: Path, tool: Callable[[str], ModuleType], tmp_path: Path):
    page = tool("evidence_page")
    assert tool("evidence_check").check(made, count=6, seed=3, kept=page.checks(tmp_path) / "seed-3.json")
    found = tool("evidence_check").Checked.load(tmp_path / "checks" / "seed-3.json")
    assert (found.agreed, found.trainings) == (1, 1)
    (timed,) = found.timed
    assert timed.seconds > 0
    record = Record.load(made / "small.json")
    (outcome,), (machine,) = record.outcomes, record.machines
    long = (replace(outcome, total_seconds=28800.0),)
    records = {"small": replace(record, machines=(replace(machine, threads=1),), outcomes=long)}
    halved = replace(found, timed=(replace(timed, recorded_seconds=28800.0, seconds=14400.0),))
    told = page.trained_again([halved], records, [])
    assert "1 of 1 agree with the records" in told
    assert "these shares of the time: 0.50 on spoken digits. At that pace all" in told
    assert "of the evidence takes 2.0 hours, two at a time." in told
    trials = kit_trials("movie-reviews", 400)
    assert trials is not None
    unknown = page.trained_again([halved], records, [trials])
    assert "0.50 on spoken digits." in unknown
    assert "At that pace" not in unknown  # nothing is known of one of the tasks
    as_long = (replace(halved.timed[0], seconds=28800.0),)
    slow = replace(halved, timed=as_long, machine=replace(halved.machine, processor="Slow"))
    both = page.trained_again([halved, slow], records, [])
    assert "0.50 on spoken digits" in both
    assert "the Slow took these shares of the time: 1.00 on spoken digits. At that pace all" in both
    assert page.trained_again([], records, []) == ""


def test_the_pace_is_told_beside_the_record_that_was_repeated_only(
    made: Path, tool: Callable[[str], ModuleType], tmp_path: Path
):
    page = tool("evidence_page")
    assert tool("evidence_check").check(made, count=6, seed=3, kept=page.checks(tmp_path) / "seed-3.json")
    found = tool("evidence_check").Checked.load(tmp_path / "checks" / "seed-3.json")
    record = Record.load(made / "small.json")
    (outcome,) = record.outcomes
    assert page.pace([found], {"small": record}).keys() == {"spoken-digits"}
    anew = replace(outcome, total_seconds=outcome.total_seconds + 1)
    assert page.pace([found], {"small": replace(record, outcomes=(anew,))}) == {}


def test_the_seconds_of_a_task_are_of_its_trainings_and_its_trials(
    invented_record: Callable[..., Record], tool: Callable[[str], ModuleType]
):
    conditions = grid(task="movie-reviews", method="full", seed=[0, 1])
    record = invented_record("some", conditions, lambda _: 0.8)
    assert [machine.threads for machine in record.machines] == [2]
    timed = tuple(replace(outcome, seconds=10.0, total_seconds=30.0) for outcome in record.outcomes)
    alone = replace(timed[1], seconds=5.0, total_seconds=0.0)  # of which only the training was timed
    records = {"some": replace(record, outcomes=(timed[0], alone)), "same": replace(record, outcomes=timed[:1])}
    some = kit_trials("movie-reviews", 400)
    assert some is not None
    trials = replace(some, trials=(replace(some.trials[0], seconds=7.0),))
    assert tool("evidence_page").seconds_by_task(records, [trials]) == {"movie-reviews": 2 * (30.0 + 5.0 + 20.0) + 7.0}


def test_an_unstable_training_is_named_and_does_not_agree(tool: Callable[[str], ModuleType]):
    check = tool("evidence_check")
    recorded = Score(0.8, 0.75, 0.85, 40, "wilson")
    condition = Condition("movie-reviews", "full")
    which = ("some", condition, condition.training(1e-4, 3))
    same = check.Repetition(*which, recorded, 0.81, 0.95, (0.6, 0.82), 1.0, 1.0, 1.0)
    assert same.verdict == "agrees"
    unstable = replace(same, again=0.65, same=0.7)
    assert unstable.verdict == replace(same, same=0.85).verdict == "as another seed"
    faults = [
        replace(same, again=0.65),  # with the answers of the record
        replace(same, measured=0.5),
        replace(same, again=0.84, same=0.85),  # no seed gave that
        replace(same, same=0.85, of_seeds=(np.nan, np.nan)),  # there is no other seed
    ]
    assert {each.verdict for each in faults} == {"DIFFERS"}
    assert check.Checked.of([same] * 9).passed
    assert not check.Checked.of([same] * 9 + [unstable]).passed


def test_a_record_that_says_otherwise_is_found_out(
    made: Path, tool: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
):
    record = Record.load(made / "small.json")
    (outcome,), test = record.outcomes, record.tests["spoken-digits"]
    labels = [int(digit) for digit in test.labels]
    right = np.mean(outcome.predicted() == labels) < 0.5
    answers = as_digits(labels if right else [(label + 1) % 10 for label in labels])
    replace(record, outcomes=(replace(outcome, answers=answers),)).save(made / "small.json")
    assert not tool("evidence_check").check(made, count=1, seed=0)
    assert "DIFFERS" in capsys.readouterr().out


def test_a_measure_that_says_otherwise_is_found_out(
    made: Path, tool: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
):
    record = Record.load(made / "small.json")
    (outcome,) = record.outcomes
    measured = outcome.measures["moved weights"]
    farther = {**measured, "relative_change": [3 * change for change in measured["relative_change"]]}
    wrong = replace(outcome, measures={"moved weights": farther})
    replace(record, outcomes=(wrong,)).save(made / "small.json")
    assert not tool("evidence_check").check(made, count=1, seed=0)
    assert re.search(r"100% +[5-8]\d% .* DIFFERS", capsys.readouterr().out)


def test_a_measure_may_vary_as_it_does_between_seeds(
    invented_record: Callable[..., Record], tool: Callable[[str], ModuleType]
):
    conditions = grid(task="movie-reviews", method="full", seed=[0, 1])
    record = invented_record("some", conditions, lambda _: 0.8, lambda each: {"kept": {"after": 1.0 + each.seed}})
    share_near = tool("evidence_check").share_near
    assert share_near(record, record.outcomes[0], {"kept": {"after": 1.9}}) == 1
    assert share_near(record, record.outcomes[0], {"kept": {"after": 2.1}}) == 0
    assert share_near(record, record.outcomes[0], {"kept": {}}) == 0


def test_what_was_set_hides_no_wrong_number(tool: Callable[[str], ModuleType]):
    numbers = tool("evidence_check").numbers
    measured = {"corruption": {"severities": [1, 2], "strengths": [0.1, 0.2], "scores": [0.8, 0.7]}}
    assert [name for name, _ in numbers(measured)] == [".corruption.scores.0", ".corruption.scores.1"]


def test_other_test_items_are_found_out(
    made: Path, tool: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
):
    record = Record.load(made / "small.json")
    tests = {name: replace(test, fingerprint="other") for name, test in record.tests.items()}
    replace(record, tests=tests).save(made / "small.json")
    assert not tool("evidence_check").check(made, count=1, seed=0)
    assert "other test items" in capsys.readouterr().out


def test_the_sample_is_cheap_spread_over_experiments_and_drawn_by_a_seed(
    invented_record: Callable[..., Record], tool: Callable[[str], ModuleType]
):
    conditions = grid(task="movie-reviews", method=["lora", "full"], seed=list(range(8)))
    records = [invented_record(name, conditions, lambda condition: 0.8) for name in ("one", "two")]
    sample = tool("evidence_check").sample
    chosen = sample(records, 4, seed=0)
    assert sorted(record.experiment for record, _ in chosen) == ["one", "one", "two", "two"]
    assert [outcome.seconds for _, outcome in chosen] == sorted(outcome.seconds for _, outcome in chosen)
    cheapest = sorted(outcome.seconds for outcome in records[0].outcomes)[:4]
    assert all(outcome.seconds in cheapest for _, outcome in chosen)
    assert chosen == sample(records, 4, seed=0)
    assert any(chosen != sample(records, 4, seed=seed) for seed in range(1, 5))
    assert len(sample(records, 100, seed=0)) == 32
    reached = {record.experiment for seed in range(8) for record, _ in sample(records, 1, seed=seed)}
    assert reached == {"one", "two"}  # a sample smaller than the number of experiments leaves none out for ever


def test_nothing_to_check_is_said(tmp_path: Path, tool: Callable[[str], ModuleType]):
    with pytest.raises(SystemExit, match="holds no recorded training"):
        tool("evidence_check").check(tmp_path, count=1, seed=0)


def test_a_condition_is_written_in_one_line(tool: Callable[[str], ModuleType]):
    assert doctest.testmod(tool("evidence_check")).failed == 0
    condition = Condition("solar-cells", "full", label_noise=0.2, options={"patience": 2})
    assert tool("evidence_check").described(condition) == "solar-cells, full, seed 0, label noise 0.2, patience 2"
