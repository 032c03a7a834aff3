"""Reports of small real runs on speech, made once for all tests here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ftkit.errors import FtkitError
from ftkit.experiments.comparison import Comparison, compare
from ftkit.experiments.demo import load_comparisons, needed_assets
from ftkit.experiments.fine_tuning import fine_tune
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.task_facts import TaskFacts, facts_of
from ftkit.methods import LoRA
from ftkit.report import build_report, write_report
from ftkit.report.build import Circumstances
from ftkit.tasks import Task, load_task

CIRCUMSTANCES = Circumstances("ftkit compare spoken-digits", 95.0, 1_234_000_000)


@pytest.fixture(scope="module")
def task() -> Task:
    """Forty clips to train on and a fifth of the test, drawn at random so that it holds every digit and speaker."""
    whole = load_task("spoken-digits", limit=40)
    return replace(whole, test=whole.test.take(np.random.default_rng(0).permutation(1200)[:240]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def comparison(task: Task, folder: Path) -> Comparison:
    return compare(task, ["linear-probe", "prompt"], seeds=2, epochs=1, folder=folder, progress=False)


def test_saved_runs_make_the_same_comparison(comparison: Comparison, folder: Path) -> None:
    (found,) = load_comparisons(folder)
    assert repr(found) == repr(comparison)
    assert found.baselines == comparison.baselines
    assert found.trials == comparison.trials
    assert (found.title, found.notes) == (comparison.title, comparison.notes)


def test_saved_runs_make_the_same_report(comparison: Comparison, folder: Path) -> None:
    first = build_report([comparison], folder, CIRCUMSTANCES)
    assert build_report(load_comparisons(folder), folder, CIRCUMSTANCES) == first


def test_report_says_how_seeds_and_time_were_spent(comparison: Comparison, folder: Path) -> None:
    page = build_report([comparison], folder, CIRCUMSTANCES)
    assert "scores are means over seeds" in page
    assert "4 runs, 2 seeds a method" in page
    assert "whole groups of test items (speakers), too few for the bootstrap; over seeds too" in page
    assert "95 s, this report included" in page
    assert "1,234 MB, of the whole process" in page


def test_facts_kept_beside_the_runs_are_those_of_the_task(task: Task, comparison: Comparison, folder: Path) -> None:
    facts = facts_of(comparison, folder)
    assert facts == TaskFacts.of(task)
    assert facts.counts["train"]["seven"] == 4


def test_facts_without_a_file_are_what_the_runs_tell(comparison: Comparison, tmp_path: Path) -> None:
    facts = facts_of(comparison, tmp_path)
    assert facts.assets == ("spoken-digits-synthetic", "fsdd")
    assert facts.counts["train"] == {"": 40}
    assert sum(facts.counts["test"].values()) == 240
    assert "Free Spoken Digit Dataset" in build_report([comparison], tmp_path, CIRCUMSTANCES)


def test_runs_with_other_settings_or_epochs_are_never_averaged(
    task: Task, comparison: Comparison, tmp_path: Path
) -> None:
    for settings, epochs in ((LoRA(rank=2), 1), (LoRA(rank=4), 1), (LoRA(rank=4), 2)):
        run = fine_tune(task, settings, epochs=epochs, progress=False)
        run.save(tmp_path / run.spec.folder_name)
    first, second = load_comparisons(tmp_path)
    assert [len(each.runs) for each in (first, second)] == [1, 1]
    assert {first.title, second.title} == {
        "Spoken digits (40 examples, 1 epoch)",
        "Spoken digits (40 examples, 2 epochs)",
    }
    notes = " ".join((*first.notes, *second.notes))
    assert "not shown: 1 of LoRA." in notes
    page = build_report([first, second], tmp_path, CIRCUMSTANCES)
    assert 'href="#task-2"' in page


def test_runs_in_another_precision_are_never_averaged(task: Task, tmp_path: Path) -> None:
    for seed, precision in ((0, "float32"), (1, "float32"), (0, "bf16")):
        run = fine_tune(task, "linear-probe", epochs=1, seed=seed, precision=precision, progress=False)
        run.save(tmp_path / run.spec.folder_name)
    (found,) = load_comparisons(tmp_path)
    assert [(run.spec.seed, run.spec.precision) for run in found.runs] == [(0, "float32"), (1, "float32")]
    assert "not shown: 1 of Linear probe." in " ".join(found.notes)


def test_interrupted_runs_are_left_out(task: Task, tmp_path: Path) -> None:
    run = fine_tune(task, "linear-probe", epochs=1, progress=False)
    run.history.interrupted = True
    run.save(tmp_path / run.spec.folder_name)
    with pytest.raises(FtkitError, match="no finished run"):
        load_comparisons(tmp_path)


def test_title_of_own_data_cannot_inject_markup(comparison: Comparison, folder: Path) -> None:
    nasty = replace(comparison, title="<script>alert(1)</script>", notes=("<b>note</b>",))
    page = build_report([nasty], folder, CIRCUMSTANCES)
    assert "<script>" not in page
    assert "<b>note</b>" not in page


def test_report_is_written_whole_or_not_at_all(comparison: Comparison, folder: Path, tmp_path: Path) -> None:
    path = write_report(tmp_path / "report.html", [comparison], folder, CIRCUMSTANCES)
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_report_of_nothing_or_into_a_folder_is_refused(comparison: Comparison, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FtkitError, match="at least one comparison"):
        build_report([], folder, CIRCUMSTANCES)
    with pytest.raises(FtkitError, match="is a folder"):
        write_report(tmp_path, [comparison], folder, CIRCUMSTANCES)


def test_needed_assets_are_the_models_and_data_of_the_tasks() -> None:
    assert [each.name for each in needed_assets(["solar-cells"])] == ["efficientnet-lite0", "elpv"]


def test_what_is_rehearsed_or_could_be_forgotten_is_needed_too() -> None:
    needed = needed_assets(["movie-reviews", "spoken-digits"], ["movie-reviews", "spoken-digits"])
    assert {each.name for each in needed} >= {"reuters-r8"}
    assert len(needed) == len(needed_assets(["movie-reviews", "spoken-digits"])) + 1
    assert EXPERIMENTS["forgetting"].needs_source_data
    assert EXPERIMENTS["methods"].needs_source_data  # one of them is replay
    assert not EXPERIMENTS["sizes"].needs_source_data
