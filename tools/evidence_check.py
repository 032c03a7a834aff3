"""Train some recorded trainings again, and see whether their scores are what the records say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.evaluation import Score, find_metric, score
from ftkit.experiments import running
from ftkit.experiments.experiment import Condition
from ftkit.experiments.machine import Machine
from ftkit.experiments.measures import MEASURES
from ftkit.experiments.record import AnsweredItems, Outcome, Record, from_digits
from ftkit.experiments.revision import revision
from ftkit.experiments.scoring import answer_tables
from ftkit.paths import write_text

SAME_AT_LEAST = 0.9
"""Share of the test items that must be answered as recorded, and of the measures that must be near: rounding differs
between processors, and hardly any answer does."""
AGREES, ANOTHER_SEED = "agrees", "as another seed"
SPREADS, SHARE = 2.0, 0.1
"""How far a measured number may lie from the recorded one: so many standard deviations over seeds, or such a share."""
NOT_MEASURED = ("by_item", "sizes", "severities", "strengths", "directions", "items", "higher_is_better")
"""Parts of a measure that single items gave or that were set: equal in all trainings, they would hide wrong numbers."""
CHEAP = 0.25
"""Share of an experiment's trainings, the cheapest ones, from which the sample is drawn first."""


@dataclass(frozen=True)
class Repetition:
    """A recorded training and what it came to when it was made again.

    Attributes
    ----------
    experiment, condition, training
        Which training, and what decides it, see `Outcome.training`.
    recorded
        Score of the recorded answers, with its 95 % interval over test items, or over their groups.
    again
        The new score; NaN where the test items are not those of the record.
    same
        Share of the test items with the same answer.
    of_seeds
        Lowest and highest score of the recorded trainings that differ from this one in their seed only; NaN where
        there are none.
    measured
        Share of the numbers measured of the model that are near the recorded ones; 1 where nothing was measured.
    recorded_seconds, seconds
        What training, evaluation and measures took, times the threads that they used; training alone where the record
        tells no more. Some of the recorded time went into loading data.
    """

    experiment: str
    condition: Condition
    training: str
    recorded: Score
    again: float
    same: float
    of_seeds: tuple[float, float]
    measured: float
    recorded_seconds: float
    seconds: float

    @property
    def verdict(self) -> str:
        """Whether the score lies within the recorded interval, and nearly all answers and measures are as recorded.

        Where answers differ, the score may still be one that other seeds give: an unstable training, which rounding
        has moved. It is named, so that the cause is known, and does not agree.
        """
        if np.isnan(self.again):
            return "other test items"
        within = self.recorded.low <= self.again <= self.recorded.high
        if within and min(self.same, self.measured) >= SAME_AT_LEAST:
            return AGREES
        low, high = self.of_seeds
        return ANOTHER_SEED if self.same < SAME_AT_LEAST and low <= self.again <= high else "DIFFERS"

    def __str__(self) -> str:
        return row(
            self.experiment,
            described(self.condition),
            str(self.recorded),
            f"{100 * self.again:.1f} %",
            f"{self.same:.0%}",
            f"{self.measured:.0%}",
            f"{self.recorded_seconds:.0f} s",
            f"{self.seconds:.0f} s",
            self.verdict,
        )


@dataclass(frozen=True)
class Timed:
    """What a training took when it was recorded, and again.

    Attributes
    ----------
    training
        What decides it, see `Outcome.training`.
    recorded_seconds, seconds
        Times the threads that it used.
    """

    training: str
    recorded_seconds: float
    seconds: float


@dataclass(frozen=True)
class Checked:
    """What a check found, as it is kept.

    Attributes
    ----------
    created, commit
        Day and commit of the kit.
    machine
        Where it was made.
    agreed, as_another_seed, trainings
        How many trainings agree with the records, how many others have a score that other seeds gave, of how many.
    timed
        What each of them took then and now; none where that was not kept.
    """

    created: str
    commit: str
    machine: Machine
    agreed: int
    as_another_seed: int
    trainings: int
    timed: tuple[Timed, ...]

    @classmethod
    def of(cls, made: Sequence[Repetition]) -> Checked:
        """Sum up what was made again."""
        timed = tuple(Timed(each.training, each.recorded_seconds, each.seconds) for each in made if each.seconds)
        agreed, unstable = (sum(each.verdict == verdict for each in made) for verdict in (AGREES, ANOTHER_SEED))
        return cls(date.today().isoformat(), revision(), Machine.this(), agreed, unstable, len(made), timed)

    @property
    def passed(self) -> bool:
        """Whether all agree with the records."""
        return self.agreed == self.trainings

    @property
    def in_words(self) -> str:
        """One clause, such as ``"7 of 8 agree with the records, 1 as another seed, 0 differ"``."""
        differ = self.trainings - self.agreed - self.as_another_seed
        return (
            f"{self.agreed} of {self.trainings} agree with the records, {self.as_another_seed} as another seed, "
            f"{differ} differ"
        )

    @classmethod
    def load(cls, path: Path) -> Checked:
        """Read what `save` wrote."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        timed = tuple(Timed(**each) for each in stored["timed"])
        return cls(**{**stored, "machine": Machine(**stored["machine"]), "timed": timed})

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")


def check(folder: Path, count: int, seed: int, kept: Path | None = None) -> bool:
    """Repeat a sample of the trainings in a folder of records, print what came out, and say whether all agree.

    What came out so far is also written to ``kept`` after each, where it is given.
    """
    records = [Record.load(path) for path in sorted(folder.glob("*.json"))]
    chosen = sample(records, count, seed)
    if not chosen:
        raise SystemExit(f"{folder} holds no recorded training; make some first with `make evidence`.")
    print(row("experiment", "training", "recorded", "again", "same answers", "measures", "time", "again", ""))
    made: list[Repetition] = []
    for record, outcome in chosen:
        made.append(repeat(record, outcome))
        print(made[-1], flush=True)
        found = Checked.of(made)
        if kept is not None:
            found.save(kept)  # after each: the check may be stopped at any of them
    print(found.in_words)
    if found.timed:
        share = sum(each.seconds for each in found.timed) / sum(each.recorded_seconds for each in found.timed)
        print(f"They took {share:.2f} times the recorded time of a processor")
    return found.passed


def sample(records: Sequence[Record], count: int, seed: int) -> list[tuple[Record, Outcome]]:
    """Draw trainings, the cheap ones of every experiment first and one experiment after the other, in random order.

    They come in the order of their recorded seconds, so that a mistake shows early.
    """
    generator = np.random.default_rng(seed)
    shuffled = [records[index] for index in generator.permutation(len(records))]  # a small sample is of few of them
    turns = zip_longest(*([(record, each) for each in _drawn(record, generator)] for record in shuffled))
    found = [pair for pair in chain.from_iterable(turns) if pair is not None]
    return sorted(found[:count], key=lambda pair: pair[1].seconds)


def on_one_core(record: Record, outcome: Outcome) -> Outcome:
    """Return an outcome with its seconds times the threads that they were of."""
    threads = record.machines[outcome.machine].threads
    return replace(outcome, seconds=threads * outcome.seconds, total_seconds=threads * outcome.total_seconds)


def seconds_in_all(outcome: Outcome) -> float:
    """What a training took with all else, or alone where no more was timed."""
    return outcome.total_seconds or outcome.seconds


def repeat(record: Record, outcome: Outcome) -> Repetition:
    """Train as a recorded training was trained, and compare."""
    condition, test = outcome.condition, record.tests[outcome.condition.task]
    labels = from_digits(test.labels)
    (table,) = answer_tables(test, [outcome.predicted()])
    recorded = score(test.metric, labels, table, test.groups)
    task = running.load(condition)
    which = (record.experiment, condition, outcome.training)
    recorded_seconds = seconds_in_all(on_one_core(record, outcome))
    if AnsweredItems.of(task) != test:
        return Repetition(*which, recorded, np.nan, np.nan, (np.nan, np.nan), np.nan, recorded_seconds, 0.0)
    started = time.perf_counter()
    run = running.train(replace(condition, learning_rate=outcome.learning_rate), task)
    measures = {name: MEASURES[name](run, task, condition) for name in outcome.measures}
    seconds = time.perf_counter() - started if outcome.total_seconds else run.seconds
    run.release()
    predicted = np.asarray(run.predictions.predicted)
    (table,) = answer_tables(test, [predicted])
    again = find_metric(test.metric).function(labels, table)
    same = float(np.mean(predicted == outcome.predicted()))
    others = answer_tables(test, [each.predicted() for each in other_seeds(record, outcome)])
    scores = [find_metric(test.metric).function(labels, each) for each in others] or [np.nan]
    near = share_near(record, outcome, measures)
    seconds *= run.machine.threads
    of_seeds = min(scores), max(scores)
    return Repetition(*which, recorded, again, same, of_seeds, near, recorded_seconds, seconds)


def other_seeds(record: Record, outcome: Outcome) -> list[Outcome]:
    """Those outcomes of a record that differ from one in their seed only."""
    return [
        each
        for each in record.outcomes
        if each is not outcome and replace(each.condition, seed=outcome.condition.seed) == outcome.condition
    ]


def share_near(record: Record, outcome: Outcome, again: dict[str, Any]) -> float:
    """Share of the numbers measured of a model again that are near those of a recorded outcome; 1 where there is none.

    How much a number varies is told by the outcomes that differ from the recorded one in their seed only.
    """
    of_seeds = [dict(numbers(each.measures)) for each in (outcome, *other_seeds(record, outcome))]
    found = dict(numbers(again))
    near = []
    for name, recorded in numbers(outcome.measures):
        spread = float(np.std([each[name] for each in of_seeds if name in each]))
        near.append(abs(found.get(name, np.inf) - recorded) <= max(SPREADS * spread, SHARE * abs(recorded)))
    return float(np.mean(near)) if near else 1.0


def numbers(measures: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number that was measured, with where it stands; what single items gave and what was set is left out.

    Examples
    --------
    >>> list(numbers({"groups": {"seen": 0.5}, "cka": [1, 0.9], "kind": "blur"}))
    [('.groups.seen', 0.5), ('.cka.0', 1.0), ('.cka.1', 0.9)]
    """
    if isinstance(measures, dict | list):
        parts = measures.items() if isinstance(measures, dict) else enumerate(measures)
        for key, inner in parts:
            if key not in NOT_MEASURED:
                yield from numbers(inner, f"{name}.{key}")
    elif isinstance(measures, int | float):
        yield name, float(measures)


def row(experiment: str, training: str, recorded: str, again: str, *facts: str) -> str:
    """Write a row of the table that the check prints."""
    same, measured, seconds_then, seconds_now, verdict = facts
    alike = f"{same:>12} {measured:>8}"
    costs = f"{seconds_then:>8} {seconds_now:>6}"
    return f"{experiment:16} {training:70} {recorded:23} {again:>7} {alike} {costs}  {verdict}"


def described(condition: Condition) -> str:
    """Write a condition in one line: its task, its method and what else it sets.

    Examples
    --------
    >>> described(Condition("movie-reviews", "lora", {"rank": 4}, examples=40))
    'movie-reviews, lora, rank 4, examples 40, seed 0'
    """
    parts = [condition.task, condition.method]
    for field in fields(condition)[2:]:
        value = getattr(condition, field.name)
        if isinstance(value, dict):
            parts += [f"{name} {inner}" for name, inner in value.items()]
        elif field.name == "seed" or value:
            parts.append(f"{field.name.replace('_', ' ')} {value}")
    return ", ".join(parts)


def _drawn(record: Record, generator: np.random.Generator) -> Iterator[Outcome]:
    """The outcomes of a record: the cheapest in the order of a draw, then the others as they get dearer."""
    ranked = sorted(record.outcomes, key=lambda outcome: outcome.seconds)
    cheap = int(np.ceil(CHEAP * len(ranked)))
    yield from (ranked[index] for index in generator.permutation(cheap))
    yield from ranked[cheap:]
