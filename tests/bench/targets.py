"""What the benchmarks must show, and whether they do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from harness import IMPORTED_AT_ONCE, Result, Spread

PROBE_EPOCHS = 5
PROBE, GRID, PARTIAL, SPEECH, FASTAI = Fraction(1, 10), Fraction(1, 4), Fraction(1, 3), Fraction(1, 15), Fraction(2, 3)
BF16, FLOAT32 = Fraction(1, 2), Fraction(3, 4)
"""Most time of LoRA, adapter and full fine-tuning on text, on a CPU where bf16 is faster and on one where not."""
STEP_SHARE = 0.5
PEAK_BYTES = 1.6e9
DEMO_MINUTES = 8
CLASSES = {"movie-reviews": 2, "solar-cells": 2, "spoken-digits": 10}
START_SECONDS = {"help": 0.5, "import": 1.0, "first step": 10.0}


@dataclass(frozen=True)
class Value:
    """One measured value beside its target.

    Attributes
    ----------
    name
        What was measured, such as a task and a method.
    spread
        The measurements.
    bound
        The target.
    at_least
        Whether the value must reach the bound rather than stay below it.
    unit
        ``"ratio"``, ``"share"``, ``"bytes"`` or ``"seconds"``.
    source
        The result that it comes from.
    """

    name: str
    spread: Spread
    bound: float
    at_least: bool
    unit: str
    source: Result

    @property
    def met(self) -> bool:
        """Whether the median reaches the target, and no score was given for it."""
        return not self.worse and self._reached

    @property
    def worse(self) -> bool:
        """Whether our score lies below the peer's by more than chance explains; where there is no peer, it does not."""
        return "peer" in self.source.settings and -lead(self.source) > noise(self.source)

    @property
    def comparable(self) -> bool:
        """Whether both sides learned, so that their scores can be compared; true where there is no peer."""
        return "peer" not in self.source.settings or not guessing(self.source)

    @property
    def _reached(self) -> bool:
        return self.spread.median >= self.bound if self.at_least else self.spread.median <= self.bound


@dataclass(frozen=True)
class Target:
    """A line of the table of targets.

    Attributes
    ----------
    case
        What it is about.
    demand
        What it asks for, in words.
    values
        Picks what was measured for it out of all results.
    """

    case: str
    demand: str
    values: Callable[[Sequence[Result]], list[Value]]


def peer_of(result: Result) -> str:
    """Name of the side that ftkit is compared with."""
    return str(result.settings["peer"])


def time_ratio(result: Result) -> Spread:
    """Time to a trained model, ours over the peer's: weights read, data prepared, epochs trained."""
    return result.ratio("ours", peer_of(result), "fit_seconds")


def of_part(results: Sequence[Result], part: str) -> list[Result]:
    """Results of one part."""
    return [result for result in results if result.part == part]


def peers_where(results: Sequence[Result], peer: object = "trainer", **wanted: object) -> Iterator[Result]:
    """Comparisons with a peer, or one of several, whose settings are among those wanted."""
    for result in of_part(results, "peers"):
        if all(result.settings[name] in _several(value) for name, value in {"peer": peer, **wanted}.items()):
            yield result


def noise(result: Result) -> float:
    """Largest difference between two independent test scores that chance explains, at 95 % confidence."""
    mean = (mean_score(result, "ours") + mean_score(result, peer_of(result))) / 2
    return math.sqrt(2) * uncertainty(mean, result.values("ours", "test_items")[0])


def uncertainty(score: float, items: int) -> float:
    """Half of a 95 % interval of a test score.

    Examples
    --------
    >>> round(uncertainty(0.5, 96), 3)
    0.098
    """
    share = (score * items + 2) / (items + 4)  # Agresti and Coull: an interval at a perfect score too
    return 1.96 * math.sqrt(share * (1 - share) / items)


def mean_score(result: Result, case: str) -> float:
    """Mean over the repetitions of the test score by which the task selects."""
    scores = [values[metric_of(result)] for values in result.values(case, "scores")]
    return sum(scores) / len(scores)


def metric_of(result: Result) -> str:
    """The metric of the task that is compared by."""
    return "balanced_accuracy" if result.settings["task"] == "solar-cells" else "accuracy"


def lead(result: Result) -> float:
    """Our mean score minus the peer's."""
    return mean_score(result, "ours") - mean_score(result, peer_of(result))


def guessing(result: Result) -> list[str]:
    """Which sides of a comparison, ``"ours"`` and ``"peer"``, learned nothing that shows."""
    return [side for side, case in (("ours", "ours"), ("peer", peer_of(result))) if guesses(result, case)]


def guesses(result: Result, case: str) -> bool:
    """Whether chance explains all that a case's score lies above that of guessing."""
    score, items = mean_score(result, case), result.values(case, "test_items")[0]
    return score - 1 / CLASSES[result.settings["task"]] <= uncertainty(score, items)


def verdict(result: Result) -> str:
    """Say in words how our score compares with the peer's; a side that learned nothing compares with nothing."""
    sides = guessing(result)
    if sides:
        return f"{' and '.join(sides)} no better than guessing"
    if abs(lead(result)) <= noise(result):
        return "within noise"
    return "better" if lead(result) > 0 else "worse"


def _named(peer: str) -> list[str]:
    """The peer, where it is not the usual one."""
    return [] if peer == "trainer" else [peer]


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _ratios(results: Iterator[Result], bound: Fraction) -> list[Value]:
    return [
        Value(
            ", ".join([result.settings["task"], result.settings.get("method", "grid"), *_named(peer_of(result))]),
            time_ratio(result),
            float(bound),
            False,
            "ratio",
            result,
        )
        for result in results
    ]


def _text(results: Sequence[Result], precision: str) -> Iterator[Result]:
    """Methods that train on text from the input on, where ours computed in a precision."""
    for result in peers_where(results, task="movie-reviews", method=("lora", "adapter", "full")):
        if result.values("ours", "precision")[0] == precision:
            yield result


def _step_shares(results: Sequence[Result]) -> list[Value]:
    wanted = [
        result
        for result in of_part(results, "limit")
        if (result.settings["task"], result.settings["method"]) == ("movie-reviews", "full")
    ]
    return [
        Value("movie-reviews, full", result.spread("ours", "share"), STEP_SHARE, True, "share", result)
        for result in wanted
    ]


def _memory(results: Sequence[Result]) -> list[Value]:
    values = []
    for result in of_part(results, "memory"):
        for case in result.samples:
            if case.startswith("demo"):
                values.append(Value(case, result.memory(case), PEAK_BYTES, False, "bytes", result))
            if case == "lessons":
                values += [
                    Value(lesson, Spread.of([facts["peak_memory_megabytes"] * 1e6]), PEAK_BYTES, False, "bytes", result)
                    for lesson, facts in result.samples[case][0].values.items()
                    if "peak_memory_megabytes" in facts
                ]
    return values


def _demo_seconds(results: Sequence[Result]) -> list[Value]:
    return [
        Value(
            "demo",
            Spread.of([sample.seconds for sample in result.samples["demo"]]),
            60 * DEMO_MINUTES,
            False,
            "seconds",
            result,
        )
        for result in of_part(results, "memory")
        if "demo" in result.samples
    ]


def _start_seconds(results: Sequence[Result]) -> list[Value]:
    return [
        Value(program, result.spread(program, "start_seconds"), START_SECONDS[program], False, "seconds", result)
        for result in of_part(results, "start")
        for program in result.samples
        if program != IMPORTED_AT_ONCE
    ]


TARGETS = (
    Target(
        f"linear probe, any modality, {PROBE_EPOCHS} epochs",
        f"at most {PROBE} of the plain script's time",
        lambda results: _ratios(peers_where(results, method="linear-probe", epochs=PROBE_EPOCHS), PROBE),
    ),
    Target(
        "a comparison of methods, learning rates and seeds, text",
        f"at most {GRID} of the plain script's time",
        lambda results: _ratios(iter(of_part(results, "grid")), GRID),
    ),
    Target(
        "partial fine-tuning, top third",
        f"at most {PARTIAL} of the plain script's time",
        lambda results: _ratios(peers_where(results, method="partial"), PARTIAL),
    ),
    Target(
        "LoRA, adapter and full fine-tuning, text, in bf16",
        f"at most {BF16} of the plain script's time",
        lambda results: _ratios(_text(results, "bf16"), BF16),
    ),
    Target(
        "LoRA, adapter and full fine-tuning, text, in float32, as on a CPU without fast bf16",
        f"at most {FLOAT32} of the plain script's time",
        lambda results: _ratios(_text(results, "float32"), FLOAT32),
    ),
    Target(
        "any method that the plain script has, speech",
        f"at most {SPEECH} of the plain script's time",
        lambda results: _ratios(peers_where(results, task="spoken-digits"), SPEECH),
    ),
    Target(
        "full fine-tuning, vision, against fastai",
        f"at most {FASTAI} of fastai's time",
        lambda results: _ratios(peers_where(results, peer=("fastai", "fastai-fine-tune")), FASTAI),
    ),
    Target(
        "training step, full fine-tuning, text", f"at least {STEP_SHARE:.0%} of the measured matmul limit", _step_shares
    ),
    Target("peak resident memory of any notebook and of the demo", f"at most {PEAK_BYTES / 1e9:g} GB", _memory),
    Target(
        "start of `ftkit --help`, of `import ftkit`, of a first training step",
        "at most 0.5 s, 1 s, 10 s",
        _start_seconds,
    ),
    Target("the whole demo after the downloads", f"at most {DEMO_MINUTES} minutes", _demo_seconds),
)
