from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bare_outcomes import bare_outcome

from ftkit.errors import DataError, FtkitError
from ftkit.experiments.claims import (
    FEWEST_SEEDS,
    OF_MISTAKES,
    Claim,
    claim_table,
    judge,
    judge_all,
    load_claims,
    verdict,
)
from ftkit.experiments.experiment import Condition, grid
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.mistakes import mistakes_of
from ftkit.experiments.record import AnsweredItems, Outcome, Record, as_digits, load_record
from ftkit.experiments.scoring import tables_by_seed
from ftkit.methods import METHODS
from ftkit.tasks import TASKS

LABELS = np.arange(600) % 2


def outcome(method: str, seed: int, accuracy: float, seconds: float = 10.0) -> Outcome:
    """What a training that gets a share of the items right would leave."""
    right = np.random.default_rng([seed, len(method)]).random(600) < accuracy
    return bare_outcome(Condition("movie-reviews", method, seed=seed), LABELS, right, seconds=seconds)


@pytest.fixture
def record() -> Record:
    tests = {"movie-reviews": AnsweredItems(as_digits(LABELS), None, "abc", "accuracy")}
    made = [
        outcome(method, seed, accuracy, seconds + seed)
        for method, accuracy, seconds in (("full", 0.85, 100), ("lora", 0.85, 90), ("linear-probe", 0.7, 10))
        for seed in range(5)
    ]
    return Record("methods", {}, tests, tuple(made))


def claim(first: str, second: str, rule: str = "above", margin: float = 0.0, quantity: str = "score") -> Claim:
    return Claim(
        name="one",
        group="group",
        statement="Statement.",
        source="source",
        experiment="methods",
        quantity=quantity,
        first={"method": first},
        second={"method": second},
        rule=rule,
        margin=margin,
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (claim("full", "linear-probe"), "holds"),
        (claim("full", "linear-probe", margin=0.05), "holds"),
        (claim("full", "linear-probe", margin=0.3), "does not hold here"),
        (claim("linear-probe", "full"), "does not hold here"),
        (claim("linear-probe", "full", rule="below"), "holds"),
        (claim("full", "lora"), "undecided"),
        (claim("full", "lora", rule="within", margin=0.1), "holds"),
        (claim("full", "linear-probe", rule="within", margin=0.02), "does not hold here"),
        (claim("linear-probe", "full", "below", 0.2, "seconds"), "holds"),
        (claim("lora", "full", "below", 0.5, "seconds"), "does not hold here"),
        (claim("lora", "full", "within", 0.2, "seconds"), "holds"),
        (claim("prompt", "full"), "not measured"),
    ],
)
def test_the_verdict_follows_from_the_interval(asked: Claim, expected: str, record: Record):
    judged = judge(asked, record)
    assert judged.verdict == expected
    assert str(judged).startswith(expected)


def test_the_effect_is_the_difference_of_the_means(record: Record):
    judged = judge(claim("full", "linear-probe"), record)
    means = [
        np.mean([each.scores["accuracy"] for each in record.where(method=name)]) for name in ("full", "linear-probe")
    ]
    assert judged.effect == pytest.approx(means[0] - means[1])
    assert judged.low < judged.effect < judged.high
    assert judged.seeds == (5, 5)


def test_the_effect_of_a_cost_is_the_ratio_of_the_geometric_means(record: Record):
    judged = judge(claim("linear-probe", "full", "below", 0.2, "seconds"), record)
    assert judged.effect == pytest.approx(np.prod([(10 + seed) / (100 + seed) for seed in range(5)]) ** (1 / 5))


def test_without_a_record_nothing_is_said():
    assert judge(claim("full", "lora"), None).verdict == "not measured"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FtkitError, match=r"no folder .*recrods"):
        list(judge_all(load_claims(), tmp_path / "recrods"))


def test_fewer_seeds_than_five_give_no_verdict(record: Record):
    fewer = replace(record, outcomes=tuple(each for each in record.outcomes if each.condition.seed < 4))
    judged = judge(claim("full", "linear-probe"), fewer)
    assert (judged.verdict, judged.seeds, judged.effect_in_words) == ("not measured", (4, 4), "")
    assert judged.low < judged.effect < judged.high


def test_the_table_has_a_row_for_each_claim_and_says_what_was_measured(record: Record):
    asked = claim("full", "linear-probe")
    measured, missing = judge(asked, record), judge(replace(asked, first={"method": "dora"}), record)
    table = claim_table(iter([measured, missing]))
    assert list(table["verdict"]) == ["holds", "not measured"]
    assert str(measured) == f"holds: {table['effect (95 % interval)'][0]}"
    assert table["effect (95 % interval)"][1] == ""
    assert list(table["compared"]) == ["full − linear-probe", "dora − linear-probe"]


@pytest.mark.parametrize("quantity", ["score", "seconds"])
def test_a_side_with_several_trainings_of_a_seed_is_refused(record: Record, quantity: str):
    again = replace(record, outcomes=(*record.outcomes, outcome("lora", 0, 0.7)))
    with pytest.raises(FtkitError, match="one: a side holds several trainings of one seed"):
        judge(claim("full", "lora", quantity=quantity), again)


def test_a_claim_on_the_scores_of_two_tasks_is_refused(record: Record):
    elsewhere = replace(outcome("lora", 0, 0.8), condition=Condition("solar-cells", "lora"))
    mixed = replace(record, outcomes=(*record.outcomes, elsewhere))
    with pytest.raises(FtkitError, match="must name one task; this one has movie-reviews, solar-cells"):
        judge(claim("full", "lora"), mixed)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.2, "holds"), (-0.2, 0.2, "undecided"), (-0.2, -0.1, "does not hold here")]
)
def test_an_interval_that_holds_the_margin_decides_nothing(low: float, high: float, expected: str):
    assert verdict("above", 0.0, low, high) == expected


# ------------------------------------------------------------------------------------------------ the kit's claims


def test_there_are_claims_enough_in_every_group():
    claims = load_claims()
    assert len(claims) >= 30
    assert {claim.group for claim in claims} == {
        "why it works",
        "process",
        "full or partial",
        "parameter-efficient fine-tuning",
        "challenges",
        "best practices",
    }
    groups = [claim.group for claim in claims]
    assert groups == sorted(groups, key=groups.index)
    for each in claims:
        assert each.statement.endswith(".")
        assert each.source


@pytest.mark.parametrize("side", ["first", "second"])
def test_every_claim_has_trainings_on_both_sides_in_its_experiment(side: str):
    for each in load_claims():
        found = [c for c in EXPERIMENTS[each.experiment].conditions if c.matches(getattr(each, side))]
        if each.quantity in OF_MISTAKES:  # of all methods
            assert len({c.seed for c in found}) >= FEWEST_SEEDS
            assert len({c.method for c in found}) * len({c.seed for c in found}) == len(found), each.name
            continue
        assert len({condition.seed for condition in found}) == len(found) >= FEWEST_SEEDS, (each.name, side, len(found))
        assert len({condition.method for condition in found} & set(METHODS)) == 1, each.name


def some_measures(seed: int) -> dict[str, Any]:
    """Invented values of every measure that a claim may ask for."""
    values = iter(np.random.default_rng(seed).random(30).tolist())
    return {
        "forgetting": {"before": 0.9, "after": next(values), "relearned": next(values)},
        "corruption": {"scores": [next(values) for _ in range(4)]},
        "kinds": {"mono": next(values), "poly": next(values)},
        "groups": {"seen": next(values), "unseen": next(values)},
        "layers": {name: [next(values) for _ in range(5)] for name in ("probe_before", "cka")},
        "moved weights": {"spectrum": [next(values) for _ in range(8)]},
    }


def test_a_measure_is_compared_by_the_means_of_the_runs(record: Record):
    def kept(each: Outcome) -> dict[str, Any]:
        return {"kept": {"after": [0.0, 0.1 * each.condition.seed + (each.condition.method == "full")]}}

    outcomes = tuple(replace(each, measures=kept(each)) for each in record.outcomes)
    measured = replace(record, outcomes=outcomes)
    judged = judge(claim("full", "lora", "above", 0.5, "kept.after.-1"), measured)
    assert judged.effect == pytest.approx(1.0)
    assert judged.verdict == "holds"
    assert "points" in str(judged)
    twofold = replace(claim("full", "full", "above", 0.5, "kept.after.1"), second_quantity="kept.after.0")
    assert judge(twofold, measured).effect == pytest.approx(1.2)
    with pytest.raises(FtkitError, match=r"kept\.before was not measured in methods\. There is kept"):
        judge(claim("full", "lora", "above", 0.5, "kept.before"), measured)


def with_forgetting(record: Record, share: float, items: int) -> Record:
    """A record whose models differ in how many of a source's items they get right: LoRA all, full a share of them."""
    right = [int(index < share * items) for index in range(items)]
    kept = {"full": right, "lora": [1] * items, "linear-probe": [1] * items}

    def told(each: Outcome) -> dict[str, Any]:
        parts = kept[each.condition.method]
        by_item = {"before": [1] * items, "after": parts}
        return {"ability": "a", "before": 1.0, "after": float(np.mean(parts)), "by_item": by_item, "sizes": [1] * items}

    outcomes = tuple(replace(each, measures={"forgetting": told(each)}) for each in record.outcomes)
    return replace(record, outcomes=outcomes)


def test_a_measure_of_few_items_says_less_than_one_of_many(record: Record):
    asked = claim("lora", "full", "above", 0.05, "forgetting.after")
    few, many = (judge(asked, with_forgetting(record, 0.9, items)) for items in (20, 2000))
    assert few.effect == many.effect == pytest.approx(0.1)
    assert (few.verdict, many.verdict) == ("undecided", "holds")
    twofold = replace(claim("full", "full", "above", 0.05, "forgetting.before"), second_quantity="forgetting.after")
    assert judge(twofold, with_forgetting(record, 0.9, 20)).low == pytest.approx(few.low)


def test_seconds_of_two_machines_are_not_compared(record: Record):
    asked = claim("lora", "full", "below", 1.0, "seconds")
    assert judge(asked, record).verdict == "holds"
    elsewhere = tuple(replace(each, machine=each.condition.method == "lora") for each in record.outcomes)
    assert judge(asked, replace(record, outcomes=elsewhere)).verdict == "not measured"
    size = claim("lora", "full", "within", 0.1, "saved_bytes")
    assert judge(size, replace(record, outcomes=elsewhere)).verdict == "holds"


def test_validation_scores_are_compared_too(record: Record):
    judged = judge(claim("full", "lora", "within", 0.1, "validation_score"), record)
    assert (judged.effect, judged.verdict) == (0.0, "holds")


def test_every_claim_gets_a_verdict_once_its_experiment_is_made(tmp_path: Path):
    labels = np.arange(60) % 10
    tests = {name: AnsweredItems(as_digits(labels), None, "abc", "accuracy") for name in TASKS}
    for name, experiment in EXPERIMENTS.items():
        made = []
        for index, condition in enumerate(experiment.conditions):
            right = np.random.default_rng(index).random(60) < 0.8
            answers = as_digits(np.where(right, labels, (labels + 1) % 10))
            made.append(
                replace(outcome("full", 0, 0.8), condition=condition, answers=answers, measures=some_measures(index))
            )
        Record(name, {}, tests, tuple(made)).save(tmp_path / f"{name}.json")
    judged = list(judge_all(load_claims(), tmp_path))
    assert [each.claim.name for each in judged if each.verdict == "not measured"] == []
    assert all(each.low <= each.effect <= each.high for each in judged)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('quantity = "beauty"', "no quantity 'beauty'"),
        ('rule = "near"', "no rule 'near'"),
        ('colour = "red"', "colour"),
    ],
)
def test_a_claim_that_is_written_wrongly_is_named(line: str, message: str, tmp_path: Path):
    key = line.split(" = ")[0]
    entry = {
        "name": '"a"',
        "group": '"b"',
        "statement": '"c"',
        "source": '"d"',
        "experiment": '"methods"',
        "quantity": '"score"',
        "first": '{ method = "full" }',
        "second": '{ method = "lora" }',
        "rule": '"above"',
        "margin": "0.0",
    }
    lines = [f"{name} = {value}" for name, value in entry.items() if name != key]
    (tmp_path / "claims.toml").write_text("\n".join(["[[claim]]", *lines, line]))
    with pytest.raises(FtkitError, match=message):
        load_claims(tmp_path / "claims.toml")


def test_what_methods_get_wrong_together_is_judged_over_all_of_them(invented_record: Callable[..., Record]):
    skill = {"full": 0.8, "lora": 0.75, "linear-probe": 0.7}
    conditions = grid(task="movie-reviews", method=list(skill), seed=[0, 1, 2, 3, 4])
    made = invented_record("methods", conditions, lambda condition: skill[condition.method])
    found = mistakes_of(made, "movie-reviews")
    of_task = {"task": "movie-reviews"}
    for quantity, wanted in (
        ("mistakes.gain", (found.gain.difference, found.gain.low, found.gain.high)),
        ("mistakes.apart", found.apart),
    ):
        judged = judge(Claim("c", "g", "s", "x", "methods", quantity, of_task, of_task, "above", 0.0), made)
        assert (judged.effect, judged.low, judged.high) == wanted
        assert judged.seeds == (5, 5)
        alone = replace(made, outcomes=tuple(made.where(method="full")))
        assert judge(Claim("c", "g", "s", "x", "methods", quantity, of_task, of_task, "above", 0.0), alone).verdict == (
            "not measured"
        )


def test_the_claim_on_the_best_rates_names_those_that_validation_finds_best():
    (claim,) = (each for each in load_claims() if each.name == "lora-at-its-best-is-full-at-its-best")
    record = load_record("learning-rates")
    for side in (claim.first, claim.second):
        scores: dict[float, list[float]] = {}
        for outcome in record.where(method=side["method"]):
            scores.setdefault(outcome.learning_rate, []).append(outcome.validation_score)
        assert max(scores, key=lambda rate: np.mean(scores[rate])) == side["learning_rate"]


def test_answers_by_seed_hold_one_training_a_seed(record: Record):
    outcomes = record.where(method="lora")
    assert list(tables_by_seed(record, outcomes)) == [outcome.condition.seed for outcome in outcomes]
    with pytest.raises(DataError, match="Several trainings are of one seed"):
        tables_by_seed(record, [*outcomes, outcomes[0]])
