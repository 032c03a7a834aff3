"""Train some recorded trainings again, and see whether their scores are what the records say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.evaluation import Score, find_metric, score
from ftkit.experiments import running
from ftkit.experiments.experiment import Condition
from ftkit.experiments.measures import MEASURES
from ftkit.experiments.record import AnsweredItems, Outcome, Record, from_digits
from ftkit.experiments.scoring import answer_tables

SAME_AT_LEAST = 0.9
"""Share of the test items that must be answered as recorded: rounding differs between processors, a method's answers do
not."""
SPREADS, SHARE = 2.0, 0.1
"""How far a measured number may lie from the recorded one: so many standard deviations over seeds, or such a share."""
CHEAP = 0.25
"""Share of an experiment's trainings, the cheapest ones, from which the sample is drawn first."""


@dataclass(frozen=True)
class Repetition:
    """A recorded training and what it came to when it was made again.

    Attributes
    ----------
    experiment, condition
        Which training.
    recorded
        Score of the recorded answers, with its 95 % interval over test items, or over their groups.
    again
        The new score; NaN where the test items are not those of the record.
    same
        Share of the test items with the same answer.
    measured
        Share of the numbers measured of the model that are near the recorded ones; 1 where nothing was measured.
    recorded_seconds, seconds
        What training, evaluation and measures took, times the threads that they used; training alone where the record
        tells no more. Some of the recorded time went into loading data.
    """

    experiment: str
    condition: Condition
    recorded: Score
    again: float
    same: float
    measured: float
    recorded_seconds: float
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether the score lies within the recorded interval, and nearly all answers and measures are as recorded."""
        within = self.recorded.low <= self.again <= self.recorded.high
        return within and min(self.same, self.measured) >= SAME_AT_LEAST

    def __str__(self) -> str:
        verdict = "other test items" if np.isnan(self.again) else "agrees" if self.agrees else "DIFFERS"
        return row(
            self.experiment,
            described(self.condition),
            str(self.recorded),
            f"{100 * self.again:.1f} %",
            f"{self.same:.0%}",
            f"{self.measured:.0%}",
            f"{self.recorded_seconds:.0f} s",
            f"{self.seconds:.0f} s",
            verdict,
        )


def check(folder: Path, count: int, seed: int) -> bool:
    """Repeat a sample of the trainings in a folder of records, print what came out, and say whether all agree."""
    records = [Record.load(path) for path in sorted(folder.glob("*.json"))]
    chosen = sample(records, count, seed)
    if not chosen:
        raise SystemExit(f"{folder} holds no recorded training; make some first with `make evidence`.")
    print(row("experiment", "training", "recorded", "again", "same answers", "measures", "time", "again", ""))
    made: list[Repetition] = []
    for record, outcome in chosen:
        made.append(repeat(record, outcome))
        print(made[-1], flush=True)
    print(f"{sum(each.agrees for each in made)} of {len(made)} agree with the records")
    timed = [each for each in made if each.seconds]
    if timed:
        share = sum(each.seconds for each in timed) / sum(each.recorded_seconds for each in timed)
        print(f"They took {share:.2f} times the recorded time of a processor")
    return all(each.agrees for each in made)


def sample(records: Sequence[Record], count: int, seed: int) -> list[tuple[Record, Outcome]]:
    """Draw trainings, the cheap ones of every experiment first and one experiment after the other, in random order.

    They come in the order of their recorded seconds, so that a mistake shows early.
    """
    generator = np.random.default_rng(seed)
    shuffled = [records[index] for index in generator.permutation(len(records))]  # a small sample is of few of them
    turns = zip_longest(*([(record, each) for each in _drawn(record, generator)] for record in shuffled))
    found = [pair for pair in chain.from_iterable(turns) if pair is not None]
    return sorted(found[:count], key=lambda pair: pair[1].seconds)


def repeat(record: Record, outcome: Outcome) -> Repetition:
    """Train as a recorded training was trained, and compare."""
    condition, test = outcome.condition, record.tests[outcome.condition.task]
    labels = from_digits(test.labels)
    (table,) = answer_tables(test, [outcome.predicted()])
    recorded = score(test.metric, labels, table, test.groups)
    task = running.load(condition)
    recorded_seconds = (outcome.total_seconds or outcome.seconds) * record.machines[outcome.machine].threads
    if AnsweredItems.of(task) != test:
        return Repetition(record.experiment, condition, recorded, np.nan, np.nan, np.nan, recorded_seconds, 0.0)
    started = time.perf_counter()
    run = running.train(replace(condition, learning_rate=outcome.learning_rate), task)
    measures = {name: MEASURES[name](run, task, condition) for name in outcome.measures}
    seconds = time.perf_counter() - started if outcome.total_seconds else run.seconds
    run.release()
    predicted = np.asarray(run.predictions.predicted)
    (table,) = answer_tables(test, [predicted])
    again = find_metric(test.metric).function(labels, table)
    same = float(np.mean(predicted == outcome.predicted()))
    near = share_near(record, outcome, measures)
    return Repetition(
        record.experiment, condition, recorded, again, same, near, recorded_seconds, seconds * run.machine.threads
    )


def share_near(record: Record, outcome: Outcome, again: dict[str, Any]) -> float:
    """Share of the numbers measured of a model again that are near those of a recorded outcome; 1 where there is none.

    How much a number varies is told by the outcomes that differ from the recorded one in their seed only.
    """
    alike = [
        each for each in record.outcomes if replace(each.condition, seed=outcome.condition.seed) == outcome.condition
    ]
    of_seeds = [dict(numbers(each.measures)) for each in alike]
    found = dict(numbers(again))
    near = []
    for name, recorded in numbers(outcome.measures):
        spread = float(np.std([each[name] for each in of_seeds if name in each]))
        near.append(abs(found.get(name, np.inf) - recorded) <= max(SPREADS * spread, SHARE * abs(recorded)))
    return float(np.mean(near)) if near else 1.0


def numbers(measures: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in what was measured, with where it stands; what single items gave is left out.

    Examples
    --------
    >>> list(numbers({"groups": {"seen": 0.5}, "cka": [1, 0.9], "kind": "blur"}))
    [('.groups.seen', 0.5), ('.cka.0', 1.0), ('.cka.1', 0.9)]
    """
    if isinstance(measures, dict | list):
        parts = measures.items() if isinstance(measures, dict) else enumerate(measures)
        for key, inner in parts:
            if key not in ("by_item", "sizes"):
                yield from numbers(inner, f"{name}.{key}")
    elif isinstance(measures, int | float):
        yield name, float(measures)


def row(experiment: str, training: str, recorded: str, again: str, *facts: str) -> str:
    """Write a row of the table that the check prints."""
    same, measured, seconds_then, seconds_now, verdict = facts
    costs = f"{seconds_then:>8} {seconds_now:>6}"
    return f"{experiment:16} {training:70} {recorded:23} {again:>7} {same:>12} {measured:>8} {costs}  {verdict}"


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
