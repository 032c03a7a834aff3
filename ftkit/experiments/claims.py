"""Statements about fine-tuning, each with the verdict that recorded experiments give it."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ftkit.errors import FtkitError
from ftkit.evaluation import PairedTest, Variation, paired_runs, run_variation, student_interval
from ftkit.experiments.measured_items import variation_of_difference
from ftkit.experiments.mistakes import mistakes_of
from ftkit.experiments.record import Outcome, Record, find_record, from_digits
from ftkit.experiments.scoring import tables_by_seed, test_of
from ftkit.paths import data_folder

if TYPE_CHECKING:
    import pandas

Verdict = Literal["holds", "does not hold here", "undecided", "not measured"]
SCORE = "score"
VALIDATION_SCORE = "validation_score"
COSTS = ("trainable", "seconds", "peak_memory_bytes", "saved_bytes")
OF_ONE_MACHINE = ("seconds", "peak_memory_bytes")
"""Costs that are compared only where both sides were trained on the same machine, with as many threads."""
OF_MISTAKES = ("mistakes.gain", "mistakes.apart")
RULES = ("above", "below", "within")
FEWEST_SEEDS = 5
"""Trainings that either side needs: with fewer, an interval says too little of what another seed would give."""


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
        over the second. ``"mistakes.gain"`` and ``"mistakes.apart"`` are of all methods of the task that both sides
        name, see `Mistakes`.
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

    @property
    def rule_in_words(self) -> str:
        """Where the whole interval of the effect must lie for the claim to hold, in the effect's unit.

        Examples
        --------
        >>> claims = {claim.name: claim for claim in load_claims()}
        >>> claims["a-quarter-of-the-data"].rule_in_words
        'above 0 points'
        >>> claims["lora-equals-full-movie-reviews"].rule_in_words
        'within -2 and +2 points'
        """
        if self.quantity in COSTS:
            limits, sign, unit = (1 - self.margin, 1 + self.margin, self.margin), "", "times"
        else:
            limits, sign, unit = (-100 * self.margin, 100 * self.margin, 100 * self.margin), "+", "points"
        lowest, highest, margin = (f"{limit:{sign if limit else ''}g}" for limit in limits)
        where = f"within {lowest} and {highest}" if self.rule == "within" else f"{self.rule} {margin}"
        return f"{where} {unit}"

    @property
    def compared(self) -> str:
        """What is set against what: difference or ratio, and of which two; empty where it is of all methods together.

        Examples
        --------
        >>> claims = {claim.name: claim for claim in load_claims()}
        >>> claims["lora-equals-full-movie-reviews"].compared
        'lora − full'
        >>> claims["a-quarter-of-the-data"].compared
        'full, 512 examples − scratch, 2048 examples'
        >>> claims["partial-takes-less-time"].compared
        'partial, blocks 2 ÷ partial, blocks 6'
        """
        sign = "÷" if self.quantity in COSTS else "−"
        if self.second_quantity:
            return f"{_quantity_in_words(self.quantity)} {sign} {_quantity_in_words(self.second_quantity)}"
        differing = [name for name in {**self.first, **self.second} if self.first.get(name) != self.second.get(name)]
        told = [name for name in differing if name in self.first and name in self.second] or differing
        sides = [_side_in_words(side, told) for side in (self.first, self.second)]
        return f" {sign} ".join(sides) if told else ""


def _quantity_in_words(quantity: str) -> str:
    """What was measured, without the name of the measure that took it: ``"layers.cka.-1"`` is "cka last"."""
    _, _, value = quantity.partition(".")
    return " ".join("last" if part == "-1" else part.replace("_", " ") for part in value.split("."))


def _side_in_words(side: dict[str, Any], names: Sequence[str]) -> str:
    """The method of a side, and of what else is named, its values."""
    words = [str(side["method"])] if "method" in side else []
    for name in names:
        value = side.get(name)
        if name != "method" and value not in (None, False, "", {}):
            words += _value_in_words(name, value)
    return ", ".join(words)


def _value_in_words(name: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{inner.replace('_', ' ')} {each}" for inner, each in value.items()]
    forms = {
        "learning_rate": "chosen rate" if value == "chosen" else f"rate {value}",
        "examples": f"{value} examples",
        "label_noise": f"wrong labels {value}",
        "repaired": "repaired",
        "kind": f"trained on {value}",
    }
    return [forms.get(name, f"{name.rpartition('.')[2].replace('_', ' ')} {value}")]


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
        The quantity and its 95 % interval; NaN where a side has no outcome.
    seeds
        Outcomes on the first and the second side.
    """

    claim: Claim
    verdict: Verdict
    effect: float
    low: float
    high: float
    seeds: tuple[int, int]

    @property
    def effect_in_words(self) -> str:
        """The effect with its interval and unit; empty where nothing was measured."""
        if self.verdict == "not measured":
            return ""
        if self.claim.quantity in COSTS:
            effect, low, high = (_times(each) for each in (self.effect, self.low, self.high))
            return f"{effect} times" + (f" ({low} to {high})" if self.low < self.high else "")
        return f"{100 * self.effect:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.verdict, self.effect_in_words]))


def _times(ratio: float) -> str:
    """Write a ratio with two digits behind the point, or, where these would hide it, with two that count."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


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


def claims_about(task: str, experiments: Collection[str], groups: Collection[str]) -> list[Claim]:
    """Claims on one task that some experiments judge, in some of the groups.

    Examples
    --------
    >>> chosen = claims_about("spoken-digits", ["shift"], ["challenges"])
    >>> [claim.name for claim in chosen]
    ['real-speakers-are-harder']
    """
    return [
        claim
        for claim in load_claims()
        if claim.first.get("task") == task and claim.experiment in experiments and claim.group in groups
    ]


def judge(claim: Claim, record: Record | None) -> Judgement:
    """Compare the two sides of a claim in a record.

    The interval of a score holds the variation of seeds and of test items, paired by both; that of a measure the
    variation of runs, paired by seed, and of items where the record tells what each gave (Student's, the two variances
    added); that of a cost the variation of runs.

    Parameters
    ----------
    claim
        What to judge.
    record
        Of its experiment; None where there is none yet. With fewer than `FEWEST_SEEDS` outcomes on a side the verdict
        is "not measured", whatever the effect; so it is for time and memory of several machines (`OF_ONE_MACHINE`).

    Raises
    ------
    FtkitError
        If a claim on scores does not name one task, or a side holds several trainings of one seed.
    """
    sides = ([], []) if record is None else (record.where(**claim.first), record.where(**claim.second))
    seeds = (len(sides[0]), len(sides[1]))
    several = {outcome.condition.method for outcome in sides[0]}
    if record is None or not all(seeds) or (claim.quantity in OF_MISTAKES and len(several) < 2):
        return Judgement(claim, "not measured", np.nan, np.nan, np.nan, seeds)
    _check_sides(claim, *sides)
    neutral = 0.0
    if claim.quantity == SCORE:
        test = score_difference(record, *sides)
        effect, low, high = test.difference, test.low, test.high
    elif claim.quantity in COSTS:
        effect, low, high = _cost_ratio(claim.quantity, *sides)
        neutral = 1.0
    elif claim.quantity in OF_MISTAKES:
        effect, low, high, count = _of_mistakes(claim, record)
        seeds = (count, count)
    else:
        effect, low, high = _measure_difference(claim, record, *sides)
    machines = {outcome.machine for side in sides for outcome in side}
    enough = min(seeds) >= FEWEST_SEEDS and (claim.quantity not in OF_ONE_MACHINE or len(machines) == 1)
    found = verdict(claim.rule, claim.margin, low, high, neutral) if enough else "not measured"
    return Judgement(claim, found, effect, low, high, seeds)


def _check_sides(claim: Claim, *sides: Sequence[Outcome]) -> None:
    tasks = sorted({outcome.condition.task for side in sides for outcome in side})
    if claim.quantity == SCORE and len(tasks) > 1:
        raise FtkitError(f"{claim.name}: a claim on scores must name one task; this one has {', '.join(tasks)}.")
    for side in sides:
        seeds = [outcome.condition.seed for outcome in side]
        if claim.quantity not in OF_MISTAKES and len(set(seeds)) < len(seeds):
            raise FtkitError(
                f"{claim.name}: a side holds several trainings of one seed. Name what tells them apart, such as the "
                "task, the method or its settings."
            )


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
    """Judge claims from the records of a folder, by default those of the kit; see `find_record`."""
    records: dict[str, Record | None] = {}
    for claim in claims:
        if claim.experiment not in records:
            records[claim.experiment] = find_record(claim.experiment, folder)
        yield judge(claim, records[claim.experiment])


def claim_table(judgements: Iterable[Judgement]) -> pandas.DataFrame:
    """One row a claim: group, statement, verdict, what is compared, effect with its 95 % interval, when it would hold.

    Examples
    --------
    >>> table = claim_table(judge_all(load_claims()))
    >>> list(table.columns)
    ['group', 'claim', 'verdict', 'compared', 'effect (95 % interval)', 'holds if all of it lies']
    """
    import pandas

    rows = []
    for each in judgements:
        claim = each.claim
        effect = (claim.compared, each.effect_in_words, claim.rule_in_words)
        rows.append((claim.group, claim.statement, each.verdict, *effect))
    columns = ["group", "claim", "verdict", "compared", "effect (95 % interval)", "holds if all of it lies"]
    return pandas.DataFrame(rows, columns=columns)


def score_difference(record: Record, first: Sequence[Outcome], second: Sequence[Outcome]) -> PairedTest:
    """Score of some trainings minus that of others on one task's test, by the metric that selects on that task.

    Parameters
    ----------
    record
        Holds the answers of the test items.
    first, second
        Outcomes of the record, one or more seeds a side.

    Returns
    -------
    PairedTest
        Its interval holds the variation of seeds and of test items, paired by both (see `paired_runs`).

    Raises
    ------
    DataError
        If a side holds trainings of several tasks, or several of one seed.
    """
    test = test_of(record, [*first, *second])
    one, other = (tables_by_seed(record, side) for side in (first, second))
    return paired_runs(test.metric, from_digits(test.labels), one, other, test.groups)


def _of_mistakes(claim: Claim, record: Record) -> tuple[float, float, float, int]:
    """What all methods on a task know together, with its 95 % interval, and the seeds that they share."""
    found = mistakes_of(record, claim.first["task"])
    if claim.quantity == "mistakes.gain":
        return found.gain.difference, found.gain.low, found.gain.high, found.seeds
    return (*found.apart, found.seeds)


def _cost_ratio(quantity: str, first: Sequence[Outcome], second: Sequence[Outcome]) -> tuple[float, float, float]:
    """Ratio of the geometric means, with its 95 % interval over runs."""
    one, other = ({each.condition.seed: math.log(getattr(each, quantity)) for each in side} for side in (first, second))
    effect, low, high = mean_difference(one, other)
    return math.exp(effect), math.exp(low), math.exp(high)


def _measure_difference(
    claim: Claim, record: Record, first: Sequence[Outcome], second: Sequence[Outcome]
) -> tuple[float, float, float]:
    """Difference of the means, with its 95 % interval over runs and items."""
    quantities = (claim.quantity, claim.second_quantity or claim.quantity)
    one, other = (
        {each.condition.seed: _measured(claim, quantity, each) for each in side}
        for quantity, side in zip(quantities, (first, second), strict=True)
    )
    items = variation_of_difference(record, (quantities[0], first), (quantities[1], second))
    return mean_difference(one, other, items)


def mean_difference(
    first: dict[int, float], second: dict[int, float], items: Sequence[Variation] = ()
) -> tuple[float, float, float]:
    """Difference of two means over runs with its 95 % interval: Student's where the seeds are the same, else Welch's.

    Parameters
    ----------
    first, second
        Seed to value.
    items
        Variation of the difference over the items that were asked, default none; it is added to that of the runs, the
        degrees of freedom by Satterthwaite's rule.

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
    paired = first.keys() == second.keys()
    runs = [np.array([first[seed] - second[seed] for seed in first])] if paired else [one, other]
    if min(len(part) for part in runs) < 2:
        return effect, -math.inf, math.inf
    variations = [variation for part in runs for variation in run_variation(part)]
    return (effect, *student_interval(effect, [*variations, *items]))


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
