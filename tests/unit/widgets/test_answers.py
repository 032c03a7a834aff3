from __future__ import annotations

from dataclasses import replace

import pytest

from ftkit.errors import FtkitError
from ftkit.experiments.run import Run
from ftkit.figures.run_labels import run_labels
from ftkit.methods import LoRA
from ftkit.widgets.answers import MethodAnswer, answers_html, answers_table, ask, error_html


def test_every_run_answers_with_all_classes_ranked(runs: list[Run]) -> None:
    answers = ask(runs, "A film to fall in love with.")
    assert [answer.title for answer in answers] == ["Linear probe", "Prompt tuning"]
    for answer, run in zip(answers, runs, strict=True):
        expected = run.predict(["A film to fall in love with."])
        assert answer.label == expected.labels[0]
        assert {name for name, _ in answer.ranking} == {"rotten", "fresh"}
        assert sum(share for _, share in answer.ranking) == pytest.approx(1, abs=1e-4)
        assert answer.ranking[0][1] >= answer.ranking[1][1]


def test_runs_of_one_method_are_told_apart_by_what_differs(runs: list[Run]) -> None:
    probe, prompt = runs
    another_seed = replace(probe, spec=replace(probe.spec, seed=1))
    longer = replace(prompt, spec=replace(prompt.spec, settings={**prompt.spec.settings, "length": 32}))
    assert [answer.title for answer in ask([probe, another_seed], "Fine.")] == [
        "Linear probe, seed 0",
        "Linear probe, seed 1",
    ]
    first, second = run_labels([prompt, longer])
    assert (first, second) == (f"Prompt tuning, length {prompt.spec.settings['length']}", "Prompt tuning, length 32")


def test_a_setting_of_a_method_is_not_taken_for_one_of_the_training(runs: list[Run]) -> None:
    spec = replace(runs[1].spec, method="lora", settings=LoRA().settings)
    dropping = replace(spec, settings=LoRA(dropout=0.1).settings)
    labels = run_labels([replace(runs[1], spec=each) for each in (spec, dropping)])
    assert labels == ["LoRA, dropout 0.0", "LoRA, dropout 0.1"]


def test_nothing_typed_asks_for_a_sentence(runs: list[Run]) -> None:
    with pytest.raises(FtkitError, match="Write a sentence first"):
        ask(runs, "  \n")


def test_no_run_says_so() -> None:
    with pytest.raises(FtkitError, match="Train at least one method"):
        ask([], "Fine.")


ANSWERS = [
    MethodAnswer("lora", "LoRA", (("<b>fresh</b>", 0.8), ("rotten", 0.2))),
    MethodAnswer("full", "Full fine-tuning", (("rotten", 0.6), ("<b>fresh</b>", 0.4))),
]


def test_table_has_headers_and_the_numbers_beside_the_bars() -> None:
    page = answers_html(ANSWERS)
    assert page.count('scope="row"') == 2
    assert page.count('scope="col"') == 4
    assert page.count('aria-hidden="true"') == 2
    assert "80 %" in page
    assert "The methods disagree." in page


def test_names_from_the_data_are_escaped() -> None:
    assert "<b>" not in answers_html(ANSWERS, truth="<b>fresh</b>")


def test_right_and_wrong_are_marked_by_a_sign() -> None:
    page = answers_html(ANSWERS, truth="rotten")
    assert page.count("✓") == 1
    assert page.count("✗") == 1
    assert "The true answer is <strong>rotten</strong>" in page


def test_table_shows_itself_in_a_notebook(runs: list[Run]) -> None:
    assert "Linear probe" in answers_table(runs, "Fine.")._repr_html_()


def test_error_is_one_polite_escaped_line() -> None:
    assert error_html(FtkitError("no <file>")) == (
        '<p role="alert"><strong>That did not work.</strong> no &lt;file&gt;</p>'
    )
