from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bare_outcomes import bare_outcome

from ftkit.errors import FtkitError
from ftkit.evaluation import mean_score
from ftkit.experiments.experiment import Condition
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.papers import (
    CHECKED,
    MODEL_PARAMETERS,
    NOT_STATED,
    UNVERIFIED,
    OurResult,
    PaperCard,
    Published,
    badges,
    cards_from_records,
    load_papers,
    paper_card,
)
from ftkit.experiments.record import AnsweredItems, Outcome, Record, as_digits
from ftkit.experiments.run import Cost, Predictions, Run, Spec
from ftkit.figures import paper_cards
from ftkit.methods import METHODS
from ftkit.paths import data_folder

LABELS = np.arange(600) % 2
PAPERS = load_papers()


def published(**changes: Any) -> Published:
    figure = Published(
        name="one",
        paper="Somebody 2020",
        address="arXiv:2000.00001",
        table="Table 7",
        checked="table",
        modality="text",
        method="lora",
        data="rotten-tomatoes",
        metric="accuracy",
        value=84.5,
        unit="%",
        beside={"task": "movie-reviews", "method": "lora"},
        model="MiniLM",
        parameters=22_000_000,
        examples=1000,
        split="test",
        seeds=5,
        warm_start=False,
        epoch="last",
        footnotes=("A footnote with 12.5 in it.",),
    )
    return replace(figure, **changes)


OURS = OurResult("movie-reviews", "lora", "accuracy", None, 5, 22_566_146, 1000)


def outcome(seed: int, **changes: Any) -> Outcome:
    right = np.random.default_rng(seed).random(600) < 0.8
    condition = Condition("movie-reviews", "lora", seed=seed, **{"examples": 1000, **changes})
    return bare_outcome(condition, LABELS, right, total=22_600_000)


def record(*outcomes: Outcome) -> Record:
    return Record("methods", {}, {"movie-reviews": AnsweredItems(as_digits(LABELS), None, "abc", "accuracy")}, outcomes)


def run(seed: int = 0, method: str = "lora", task: str = "movie-reviews") -> Run:
    probabilities = np.random.default_rng(seed).dirichlet([1, 1], 600)
    spec = Spec(
        task=task,
        fingerprint="abc",
        modality="text",
        backbone="minilm",
        backbone_settings={},
        method=method,
        settings={},
        learning_rate=1e-3,
        epochs=1,
        batch_size=32,
        weight_decay=0.0,
        warmup=0.1,
        clip_norm=1.0,
        label_smoothing=0.0,
        class_weights=False,
        patience=None,
        augmentation=None,
        precision="float32",
        seed=seed,
        train_examples=700,
        validation_examples=100,
    )
    unused: Any = SimpleNamespace()
    return Run(
        spec=spec,
        label_names=("bad", "good"),
        metric="accuracy",
        history=unused,
        scores={},
        validation_scores={},
        predictions=Predictions([str(index) for index in range(600)], LABELS, probabilities),
        cost=Cost(1000, 770, 22_600_000, 1.0, 1.0, 10**9, 10**6),
        machine=unused,
        created="2026-01-01T00:00:00+00:00",
    )


def answers(figure: Published, ours: OurResult = OURS) -> dict[str, str]:
    return {badge.question: badge.answer for badge in badges(figure, ours)}


# ----------------------------------------------------------------------------------------------- the kit's own figures


def test_there_are_figures_enough_in_every_modality():
    assert len([each for each in PAPERS if each.verified]) >= 20
    assert {each.modality for each in PAPERS if each.verified} == {"text", "image", "audio"}


@pytest.mark.parametrize("each", PAPERS, ids=lambda each: each.name)
def test_every_figure_has_source_table_and_setting_where_it_is_shown(each: Published):
    card = paper_card(None, each)
    for shown in (str(card), str(paper_cards(card)).replace("&#x27;", "'")):
        for part in (each.paper, each.table, each.address, each.data, each.metric, CHECKED[each.checked]):
            assert part in shown
        assert "not measured" in shown
    assert each.address.startswith(("arXiv:", "doi:", "https://")) or " 20" in each.address
    assert all(note.endswith(".") for note in each.notes)


@pytest.mark.parametrize("each", [each for each in PAPERS if not each.verified], ids=lambda each: each.name)
def test_no_figure_from_memory_is_shown(each: Published):
    shown = str(paper_card(None, each)) + str(paper_cards(paper_card(None, each)))
    assert UNVERIFIED in shown
    assert str(each.value) not in shown


def test_some_figures_are_from_memory_so_that_the_rule_is_tested():
    assert any(not each.verified for each in PAPERS)


def test_every_figure_stands_beside_one_setting_of_its_experiment():
    for each in PAPERS:
        found = [c for c in EXPERIMENTS[each.experiment].conditions if c.matches(each.beside)]
        assert len({condition.seed for condition in found}) == len(found) >= 3, each.name
        assert each.our_method in METHODS, each.name


def test_sizes_of_our_models_are_those_of_the_recorded_demo():
    recorded = json.loads((data_folder() / "evidence" / "demo.json").read_text(encoding="utf-8"))
    totals = {
        each["task"]: next(one["cost"]["total"] for one in each["methods"] if one["method"] == "full")
        for each in recorded
    }
    assert dict(MODEL_PARAMETERS) == totals


# ------------------------------------------------------------------------------------------------------------- badges


def test_a_figure_like_ours_in_all_things_compares_like_for_like():
    found = badges(published(), OURS)
    assert [badge.answer for badge in found] == ["yes", "yes", "yes", "yes", "no", "no"]
    assert all(badge.speaks_for and badge.mark == "✓" for badge in found)
    assert paper_card(record(outcome(0), outcome(1)), published()).verdict == "like for like"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"metric": "macro F1"}, "not like for like: macro F1 is another metric than ours"),
        ({"split": "validation"}, "not like for like: the validation split is no test split"),
        ({"split": None}, "not like for like: the unknown split is no test split"),
    ],
)
def test_another_metric_or_split_is_not_like_for_like(changes: dict[str, Any], verdict: str):
    assert paper_card(record(outcome(0), outcome(1)), published(**changes)).verdict == verdict


def test_a_single_seed_of_ours_is_not_several_and_nothing_measured_compares_with_nothing():
    assert paper_card(record(outcome(0)), published()).verdict.startswith("not like for like: 5 of 6")
    assert PaperCard(published(), OURS, badges(published(), OURS)).verdict.startswith("nothing to compare yet")


@pytest.mark.parametrize(
    ("changes", "question", "answer"),
    [
        ({"data": "SST-2"}, "Same task?", "no"),
        ({"parameters": 125_000_000}, "Model of similar size?", "no"),
        ({"parameters": 12_000_000}, "Model of similar size?", "yes"),
        ({"parameters": None}, "Model of similar size?", NOT_STATED),
        ({"examples": 2000}, "Training data of similar size?", "yes"),
        ({"examples": 2001}, "Training data of similar size?", "no"),
        ({"examples": 499}, "Training data of similar size?", "no"),
        ({"examples": None}, "Training data of similar size?", NOT_STATED),
        ({"seeds": 1}, "Several seeds?", "no"),
        ({"seeds": 2}, "Several seeds?", "yes"),
        ({"seeds": None}, "Several seeds?", NOT_STATED),
        ({"warm_start": True}, "Warm start?", "yes"),
        ({"warm_start": None}, "Warm start?", NOT_STATED),
        ({"epoch": "best"}, "Best epoch?", "yes"),
        ({"epoch": None}, "Best epoch?", NOT_STATED),
    ],
)
def test_a_badge_follows_from_its_field_alone(changes: dict[str, Any], question: str, answer: str):
    plain, changed = answers(published()), answers(published(**changes))
    assert changed[question] == answer
    del plain[question], changed[question]
    assert changed == plain


def test_the_words_of_a_paper_change_no_badge():
    told = published(
        footnotes=("Training began from a warm start, best of 20 epochs.",), variant="one seed", copied=True
    )
    assert answers(told) == answers(published())


def test_of_a_figure_from_memory_no_answer_is_given():
    assert set(answers(published(checked="memory")).values()) == {NOT_STATED}


def test_what_is_not_stated_does_not_speak_for_a_comparison():
    card = paper_card(record(outcome(0), outcome(1)), published(warm_start=True, epoch=None))
    assert card.verdict == "not like for like: 4 of 6 answers speak for it"
    assert [badge.mark for badge in card.badges] == ["✓", "✓", "✓", "✓", "✗", "?"]


def test_the_best_known_warm_start_is_told():
    rte = next(each for each in PAPERS if each.name == "hu-2021-rte-lora")
    assert answers(rte) == {
        "Same task?": "no",
        "Model of similar size?": "no",
        "Training data of similar size?": NOT_STATED,
        "Several seeds?": "yes",
        "Warm start?": "yes",
        "Best epoch?": "yes",
    }


# -------------------------------------------------------------------------------------------------------------- cards


def test_our_side_is_the_mean_over_the_seeds_of_a_record():
    outcomes = [outcome(seed) for seed in range(3)]
    ours = paper_card(record(*outcomes), published()).ours
    tables = [np.eye(2)[each.predicted()] for each in outcomes]
    assert ours.score == mean_score("accuracy", LABELS, tables)
    assert (ours.seeds, ours.examples, ours.parameters) == (3, 1000, 22_600_000)
    assert str(ours) == f"{ours.score}, accuracy, 3 seeds"


def test_our_side_may_be_runs_of_a_lesson_on_any_task():
    ours = paper_card([run(0, task="mine"), run(1, task="mine")], published()).ours
    assert (ours.task, ours.seeds, ours.examples) == ("mine", 2, 700)
    assert ours.score is not None
    assert paper_card(run(0), published()).ours.seeds == 1
    assert answers(published(), ours)["Same task?"] == "no"


def test_without_a_record_nothing_is_said_of_ours():
    for nothing in (None, record(), []):
        card = paper_card(nothing, published())
        assert str(card.ours) == "not measured"
        assert {badge.question: badge.answer for badge in card.badges}["Training data of similar size?"] == NOT_STATED


def test_footnotes_and_copies_are_told_and_those_from_memory_are_not():
    assert "A footnote with 12.5 in it." in str(paper_card(None, published()))
    assert "took this figure from earlier work" in str(paper_card(None, published(copied=True)))
    remembered = str(paper_card(None, published(checked="memory", spread=0.3, copied=True)))
    assert all(part not in remembered for part in ("12.5", "84.5", "0.3", "earlier work"))


def test_html_is_escaped_and_links_to_the_paper():
    source = str(paper_cards([paper_card(None, published(paper="A <b> & C", model="<script>"))]))
    assert "A &lt;b&gt; &amp; C" in source
    assert "<script>" not in source
    assert '<a href="https://arxiv.org/abs/2000.00001">' in source
    assert published(address="Journal of Things 2020").link is None


def test_records_of_a_folder_are_read(tmp_path: Path):
    record(outcome(0), outcome(1)).save(tmp_path / "methods.json")
    elsewhere = published(name="two", beside={"task": "movie-reviews", "method": "full"}, method="full")
    first, second = cards_from_records([published(), elsewhere], tmp_path)
    assert first.ours.seeds == 2
    assert str(second.ours) == "not measured"


# ------------------------------------------------------------------------------------------------------------- errors


def test_outcomes_of_two_settings_are_refused():
    mixed = record(outcome(0), outcome(0, examples=200))
    with pytest.raises(FtkitError, match=r"figure one: beside names outcomes of methods that differ.*such as examples"):
        paper_card(mixed, published())
    narrowed = published(beside={"task": "movie-reviews", "method": "lora", "examples": 200})
    assert paper_card(mixed, narrowed).ours.examples == 200


def test_runs_that_do_not_belong_are_refused():
    with pytest.raises(FtkitError, match=r"figure one stands beside lora, and the run is of full. Choose another"):
        paper_card(run(method="full"), published())
    with pytest.raises(FtkitError, match="differ in their seed only"):
        paper_card([run(0), run(1, method="full")], published())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FtkitError, match=r"no folder .*nowhere of records. Name one"):
        list(cards_from_records(PAPERS, tmp_path / "nowhere"))


ENTRY = {
    "name": '"one"',
    "paper": '"Somebody 2020"',
    "address": '"arXiv:2000.00001"',
    "table": '"Table 7"',
    "checked": '"table"',
    "modality": '"text"',
    "method": '"lora"',
    "data": '"SST-2"',
    "metric": '"accuracy"',
    "value": "84.5",
    "unit": '"%"',
    "beside": '{ task = "movie-reviews", method = "lora" }',
}


def written(folder: Path, changes: dict[str, str | None]) -> Path:
    lines = [f"{key} = {value}" for key, value in {**ENTRY, **changes}.items() if value is not None]
    path = folder / "papers.toml"
    path.write_text("\n".join(["[[paper]]", "[[paper.figure]]", *lines]), encoding="utf-8")
    return path


def test_a_figure_takes_from_its_paper_what_it_does_not_say(tmp_path: Path):
    path = tmp_path / "papers.toml"
    shared = "\n".join(f"{key} = {value}" for key, value in ENTRY.items() if key != "name")
    figures = '[[paper.figure]]\nname = "one"\n[[paper.figure]]\nname = "two"\nvalue = 85.5\nfootnotes = ["So."]\n'
    path.write_text(f"[[paper]]\n{shared}\n{figures}", encoding="utf-8")
    first, second = load_papers(path)
    assert (first.value, second.value) == (84.5, 85.5)
    assert (first.paper, first.footnotes) == (second.paper, ()) == ("Somebody 2020", ())
    assert second.footnotes == ("So.",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": None}, "papers.toml, figure one: table is missing. Add it"),
        ({"paper": None}, "figure one: paper is missing. Add it"),
        ({"name": None}, "figure without a name: name is missing. Add it"),
        ({"seed": "5"}, "figure one: Unknown field 'seed'. Did you mean 'seeds'.*leave it out"),
        ({"checked": '"rumour"'}, "figure one: checked is 'rumour'. Write one of 'table'"),
        ({"epoch": '"first"'}, "figure one: epoch is 'first'. Write one of nothing at all, 'best', 'last'"),
        ({"modality": '"image"'}, "figure one: modality is 'image'. Write 'text'"),
        ({"value": '"84.5"'}, "figure one: value is '84.5'. Write a number"),
        ({"value": "true"}, "figure one: value is True. Write a number"),
        ({"seeds": "0"}, "figure one: seeds is 0. Write a number of at least 1"),
        ({"seeds": "2.5"}, "figure one: seeds is 2.5. Write a whole number"),
        ({"warm_start": '"no"'}, "figure one: warm_start is 'no'. Write true or false"),
        ({"table": '""'}, "figure one: table is ''. Write text in quotes"),
        ({"footnotes": '"A."'}, "figure one: footnotes is 'A.'. Write a list of texts"),
        ({"beside": '{ task = "movie-reviews" }'}, "figure one: beside names no method. Add it"),
        (
            {"beside": '{ task = "movies", method = "lora" }'},
            "figure one: beside.task is 'movies'. Write one of movie-",
        ),
    ],
)
def test_a_figure_that_is_written_wrongly_is_named(changes: dict[str, str | None], message: str, tmp_path: Path):
    with pytest.raises(FtkitError, match=message):
        load_papers(written(tmp_path, changes))


def test_a_file_that_cannot_serve_is_named(tmp_path: Path):
    path = written(tmp_path, {})
    assert [each.name for each in load_papers(path)] == ["one"]
    path.write_text(path.read_text() + "\n" + path.read_text(), encoding="utf-8")
    with pytest.raises(FtkitError, match=r"papers.toml holds 'one' twice. Give one of them another name"):
        load_papers(path)
    path.write_text("[[paper", encoding="utf-8")
    with pytest.raises(FtkitError, match=r"papers.toml is no valid TOML"):
        load_papers(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(FtkitError, match=r"holds no figure. Write them as"):
        load_papers(path)
    with pytest.raises(FtkitError, match="cannot be read"):
        load_papers(tmp_path / "nothing.toml")
