"""The page of the recorded experiments and the check that trains some again."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ftkit.experiments.claims import load_claims
from ftkit.experiments.experiment import Condition, Experiment, grid
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.record import Record, as_digits
from ftkit.experiments.running import run_experiment
from ftkit.tasks import Task

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


def test_the_page_shows_every_experiment_and_its_figures_with_their_descriptions(
    evidence: Path, tool: Callable[[str], ModuleType]
):
    text = (evidence / "README.md").read_text(encoding="utf-8")
    assert "processor, 2 cores, 2 threads, 8 GB of memory, Linux x86_64, Python 3.11.7; ftkit 0." in text
    seconds = sum(outcome.seconds for outcome in Record.load(evidence / "experiments/learning-rates.json").outcomes)
    count = len(EXPERIMENTS["learning-rates"].conditions)
    assert f"| {count} of {count} | {seconds:,.0f} | 2026-11-10 to 2026-11-12 |" in text
    declared = len(EXPERIMENTS["regularizers"].conditions)
    assert f"| {round(declared / 2)} of {declared} |" in text
    for name, experiment in EXPERIMENTS.items():
        assert experiment.question in text, name
    pictures = dict(re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text))
    assert set(pictures.values()) == {
        "figures/learning-rates.png",
        "figures/regularizers-movie-reviews.png",
        "figures/claims.png",
    }
    assert all((evidence / path).is_file() for path in pictures.values())
    assert any("Prompt tuning: best on validation at" in description for description in pictures)
    for linked in re.findall(r"\]\(#([^)]+)\)", text):
        assert linked in {tool("evidence_page").anchor(experiment) for experiment in EXPERIMENTS.values()}


def test_the_page_gives_the_claims_with_effect_and_verdict(evidence: Path):
    text = (evidence / "README.md").read_text(encoding="utf-8")
    rows = [
        line.split(" | ") for line in text.splitlines() if re.search(r"\| (holds|does not|undecided|not mea)", line)
    ]
    assert len(rows) == len(load_claims())
    assert any(re.fullmatch(r"[+-]\d+\.\d points \([+-].* to [+-].*\)", row[2]) for row in rows)
    assert all((row[3] == "not measured") == (row[2] == "") for row in rows)


def test_a_figure_that_is_no_longer_drawn_is_removed(evidence: Path):
    assert not (evidence / "figures" / "old.png").exists()


def test_without_a_record_the_page_says_so(tmp_path: Path, tool: Callable[[str], ModuleType]):
    text = tool("evidence_page").write_page(tmp_path).read_text(encoding="utf-8")
    assert text.count("| 0 of ") == len(EXPERIMENTS)
    assert f"holds: 0; does not hold here: 0; undecided: 0; not measured: {len(load_claims())}." in text


def test_the_names_are_those_of_the_library():
    found = subprocess.run([sys.executable, TOOLS / "evidence.py", "names"], capture_output=True, text=True, check=True)
    assert found.stdout.split() == list(EXPERIMENTS)


# ------------------------------------------------------------------------------------------------ check


@pytest.fixture
def made(tmp_path: Path, tiny_task: Callable[[str], Task], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the record of one real training."""
    monkeypatch.setattr("ftkit.experiments.running.load", lambda condition: tiny_task("audio"))
    conditions = grid(task="spoken-digits", method="linear-probe", epochs=1)
    run_experiment(Experiment("small", "Small", "Does it run?", conditions), tmp_path / "small.json")
    return tmp_path


def test_a_training_that_is_made_again_gives_the_recorded_score(
    made: Path, tool: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
):
    assert tool("evidence_check").check(made, count=6, seed=0)
    printed = capsys.readouterr().out
    assert re.search(r"small +spoken-digits, linear-probe, epochs 1, seed 0 +\d.* % +100%  agrees", printed)
    assert "1 of 1 agree" in printed


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


def test_nothing_to_check_is_said(tmp_path: Path, tool: Callable[[str], ModuleType]):
    with pytest.raises(SystemExit, match="holds no recorded training"):
        tool("evidence_check").check(tmp_path, count=1, seed=0)


def test_a_condition_is_written_in_one_line(tool: Callable[[str], ModuleType]):
    assert doctest.testmod(tool("evidence_check")).failed == 0
    condition = Condition("solar-cells", "full", label_noise=0.2, options={"patience": 2})
    assert tool("evidence_check").described(condition) == "solar-cells, full, seed 0, label noise 0.2, patience 2"
