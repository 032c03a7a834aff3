"""Statements about fine-tuning, each with the verdict that recorded experiments give it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import t as student

from ftkit.errors import FtkitError
from ftkit.evaluation import PairedTest, paired_runs
from ftkit.experiments.record import Outcome, Record, from_digits, record_path
from ftkit.experiments.scoring import answer_tables
from ftkit.paths import data_folder

Verdict = Literal["holds", "does not hold here", "undecided", "not measured"]
SCORE = "score"
VALIDATION_SCORE = "validation_score"
COSTS = ("trainable", "seconds", "peak_memory_bytes", "saved_bytes")
RULES = ("above", "below", "within")


@dataclass(frozen=True)
class Claim:
    """One statement and how it is judged.

    Attributes
    ----------
    name, group, statement, source
        For people; the source says who claims it.
    experiment
        Whose record judges it.
    quantity
        ``"score"``: the test score by which the task selects, the first side minus the second, 0 to 1; so are
        ``"validation_score"`` and what was measured of the models, such as ``"forgetting.after"`` or
        ``"corruption.scores.3"`` (the fourth of a list); or a cost of `Outcome`, such as ``"seconds"``: the first side
        over the second.
    first, second
        Which outcomes stand on either side, as fields of `Condition` and their values.
    rule
        ``"above"`` or ``"below"`` the margin, or ``"within"`` it on both sides of zero (of one, for a cost).
    margin
        Where the rule draws its line.
    second_quantity
        Measure of the second side, where it is not that of the first.
    """

    name: str
    group: str
    statement: str
    source: str
    experiment: str
    quantity: str
    first: dict[str, Any]
    second: dict[str, Any]
    rule: str
    margin: float
    second_quantity: str = ""

    def __post_init__(self) -> None:
        if self.quantity not in (SCORE, VALIDATION_SCORE, *COSTS) and "." not in self.quantity:
            raise FtkitError(
                f"Claim {self.name}: no quantity {self.quantity!r}; there are score, validation_score, "
                f"{', '.join(COSTS)}, and measures such as forgetting.after."
            )
        if self.second_quantity and "." not in self.quantity:
            raise FtkitError(f"Claim {self.name}: a second quantity stands beside a measure only, not {self.quantity}.")
        if self.rule not in RULES:
            raise FtkitError(f"Claim {self.name}: no rule {self.rule!r}; there are {', '.join(RULES)}.")


@dataclass(frozen=True)
class Judgement:
    """A claim with what was measured.

    Attributes
    ----------
    claim
        The claim.
    verdict
        Computed from the interval, never written.
    effect, low, high
        The quantity and its 95 % interval; NaN where nothing was measured.
    seeds
        Outcomes on the first and the second side.
    """

    claim: Claim
    verdict: Verdict
    effect: float
    low: float
    high: float
    seeds: tuple[int, int]

    def __str__(self) -> str:
        if self.verdict == "not measured":
            return self.verdict
        if self.claim.quantity in COSTS:
            return f"{self.verdict}: {self.effect:.2f} times ({self.low:.2f} to {self.high:.2f})"
        return f"{self.verdict}: {100 * self.effect:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def load_claims(path: Path | None = None) -> list[Claim]:
    """Read the claims that come with the kit, or those of a file.

    Raises
    ------
    FtkitError
        If an entry lacks a field, has one too many, or two share a name.
    """
    path = data_folder() / "claims.toml" if path is None else path
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["claim"]
    try:
        claims = [Claim(**entry) for entry in entries]
    except TypeError as error:
        raise FtkitError(f"{path.name}: {error}.") from None
    names = [claim.name for claim in claims]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FtkitError(f"{path.name} holds {twice[0]!r} twice.")
    return claims


def judge(claim: Claim, record: Record | None) -> Judgement:
    """Compare the two sides of a claim in a record.

    The interval of a score holds the variation of seeds and of test items, paired by item; that of a cost or a measure,
    of which the record keeps no items, the variation of runs, paired by seed.

    Parameters
    ----------
    claim
        What to judge.
    record
        Of its experiment; None where there is none yet.

    Raises
    ------
    FtkitError
        If a claim on scores does not name one task.
    """
    sides = ([], []) if record is None else (record.where(**claim.first), record.where(**claim.second))
    seeds = (len(sides[0]), len(sides[1]))
    if record is None or not all(seeds):
        return Judgement(claim, "not measured", np.nan, np.nan, np.nan, seeds)
    neutral = 0.0
    if claim.quantity == SCORE:
        test = _score_difference(record, *sides)
        effect, low, high = test.difference, test.low, test.high
    elif claim.quantity in COSTS:
        effect, low, high = _cost_ratio(claim.quantity, *sides)
        neutral = 1.0
    else:
        effect, low, high = _measure_difference(claim, *sides)
    return Judgement(claim, verdict(claim.rule, claim.margin, low, high, neutral), effect, low, high, seeds)


def verdict(rule: str, margin: float, low: float, high: float, neutral: float = 0.0) -> Verdict:
    """What an interval says to a rule.

    Parameters
    ----------
    rule, margin
        See `Claim`.
    low, high
        Ends of the interval, in the units of the margin.
    neutral
        Where ``"within"`` is centred, default 0.

    Examples
    --------
    >>> verdict("above", 0.0, low=0.01, high=0.05)
    'holds'
    >>> verdict("above", 0.0, low=-0.05, high=-0.01)
    'does not hold here'
    >>> verdict("within", 0.02, low=-0.01, high=0.05)
    'undecided'
    """
    if rule == "within":
        nearest, farthest = neutral - margin, neutral + margin
        inside, outside = nearest <= low and high <= farthest, high < nearest or low > farthest
    elif rule == "above":
        inside, outside = low > margin, high < margin
    else:
        inside, outside = high < margin, low > margin
    return "holds" if inside else "does not hold here" if outside else "undecided"


def judge_all(claims: Sequence[Claim], folder: Path | None = None) -> Iterator[Judgement]:
    """Judge claims from the records of a folder, by default those that come with the kit."""
    records: dict[str, Record | None] = {}
    for claim in claims:
        if claim.experiment not in records:
            path = record_path(claim.experiment) if folder is None else folder / f"{claim.experiment}.json"
            records[claim.experiment] = Record.load(path) if path.is_file() else None
        yield judge(claim, records[claim.experiment])


def _score_difference(record: Record, first: Sequence[Outcome], second: Sequence[Outcome]) -> PairedTest:
    """Paired difference by the metric that selects on the task."""
    tasks = {outcome.condition.task for outcome in (*first, *second)}
    if len(tasks) > 1:
        raise FtkitError(f"A claim on scores must name one task; this one has {', '.join(sorted(tasks))}.")
    test = record.tests[tasks.pop()]
    one, other = (answer_tables(test, [outcome.predicted() for outcome in side]) for side in (first, second))
    return paired_runs(test.metric, from_digits(test.labels), one, other, test.groups)


def _cost_ratio(quantity: str, first: Sequence[Outcome], second: Sequence[Outcome]) -> tuple[float, float, float]:
    """Ratio of the geometric means, with its 95 % interval over runs."""
    sides = [{each.condition.seed: math.log(getattr(each, quantity)) for each in side} for side in (first, second)]
    effect, low, high = mean_difference(*sides)
    return math.exp(effect), math.exp(low), math.exp(high)


def _measure_difference(
    claim: Claim, first: Sequence[Outcome], second: Sequence[Outcome]
) -> tuple[float, float, float]:
    """Difference of the means, with its 95 % interval over runs."""
    quantities = (claim.quantity, claim.second_quantity or claim.quantity)
    sides = [
        {each.condition.seed: _measured(claim, quantity, each) for each in side}
        for quantity, side in zip(quantities, (first, second), strict=True)
    ]
    return mean_difference(*sides)


def mean_difference(first: dict[int, float], second: dict[int, float]) -> tuple[float, float, float]:
    """Difference of two means over runs with its 95 % interval: Student's where the seeds are the same, else Welch's.

    Parameters
    ----------
    first, second
        Seed to value.

    Returns
    -------
    tuple of float
        The difference and the ends of its interval; without end where one run stands alone.

    Examples
    --------
    >>> [round(each, 3) for each in mean_difference({0: 1.0, 1: 2.0}, {0: 0.5, 1: 1.5})]
    [0.5, 0.5, 0.5]
    """
    one, other = np.array(list(first.values())), np.array(list(second.values()))
    effect = float(one.mean() - other.mean())
    if first.keys() == second.keys():
        parts, counts = [np.array([first[seed] - second[seed] for seed in first])], [len(first)]
    else:
        parts, counts = [one, other], [len(one), len(other)]
    if min(counts) < 2:
        return effect, -math.inf, math.inf
    errors = [float(part.var(ddof=1)) / len(part) for part in parts]
    total = sum(errors)
    if not total:
        return effect, effect, effect
    freedom = total**2 / sum(error**2 / (count - 1) for error, count in zip(errors, counts, strict=True))
    half = float(student.ppf(0.975, freedom)) * math.sqrt(total)
    return effect, effect - half, effect + half


def _measured(claim: Claim, quantity: str, outcome: Outcome) -> float:
    """Follow a quantity of a claim into what was measured of an outcome."""
    if quantity == VALIDATION_SCORE:
        return outcome.validation_score
    found: Any = outcome.measures
    for part in quantity.split("."):
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, ValueError):
            raise FtkitError(
                f"Claim {claim.name}: {quantity} was not measured in {claim.experiment}. "
                f"There is {', '.join(outcome.measures) or 'nothing'}."
            ) from None
    return float(found)
