"""What the benchmarks must show, and whether they do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from harness import NEW_CACHE, Result, Spread

PROBE_EPOCHS = 5
PROBE, GRID, PARTIAL, SPEECH, FASTAI = Fraction(1, 10), Fraction(1, 4), Fraction(1, 3), Fraction(1, 15), Fraction(2, 3)
BF16, FLOAT32 = Fraction(1, 2), Fraction(3, 4)
"""Most time of LoRA, adapter and full fine-tuning on text, on a CPU where bf16 is faster and on one where not."""
STEP_SHARE = 0.5
PEAK_BYTES = 1.6e9
DEMO_MINUTES = 8
CLASSES = {"movie-reviews": 2, "solar-cells": 2, "spoken-digits": 10}
START_SECONDS = {"help": 0.5, "import": 1.0}
FIRST_STEP_SECONDS = 10.0


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
        """Whether a score of ours lies below the peer's by more than chance explains; without a peer, none does."""
        return any(-pair.lead > pair.noise for pair in score_pairs(self.source))

    @property
    def torn(self) -> bool:
        """Whether some repetitions reach the target and others do not."""
        return self._reaches(self.spread.low) != self._reaches(self.spread.high)

    @property
    def _reached(self) -> bool:
        return self._reaches(self.spread.median)

    def _reaches(self, measured: float) -> bool:
        return measured >= self.bound if self.at_least else measured <= self.bound


@dataclass(frozen=True)
class ScorePair:
    """Test scores of one method by our code and by the peer's, means over repetitions or seeds.

    Attributes
    ----------
    ours, peer
        The scores.
    items
        Test items, the same on both sides.
    chance
        The score of guessing.
    """

    ours: float
    peer: float
    items: int
    chance: float

    @property
    def lead(self) -> float:
        """Our score minus the peer's."""
        return self.ours - self.peer

    @property
    def noise(self) -> float:
        """Largest difference between two independent test scores that chance explains, at 95 % confidence."""
        return math.sqrt(2) * uncertainty((self.ours + self.peer) / 2, self.items)

    @property
    def guessing(self) -> list[str]:
        """Which sides, ``"ours"`` and ``"peer"``, learned nothing that shows."""
        sides = {"ours": self.ours, "peer": self.peer}
        return [side for side, score in sides.items() if guesses(score, self.items, self.chance)]

    @property
    def verdict(self) -> str:
        """How our score compares with the peer's, in words; a side that learned nothing compares with nothing."""
        if self.guessing:
            return f"{' and '.join(self.guessing)} no better than guessing"
        if abs(self.lead) <= self.noise:
            return "within noise"
        return "better" if self.lead > 0 else "worse"


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


def peers_where(
    results: Sequence[Result], peer: object = "trainer", precision: object = None, **wanted: object
) -> Iterator[Result]:
    """Comparisons with a peer, or one of several, whose settings are as wanted; a precision is one that was forced."""
    for result in of_part(results, "peers"):
        demanded = {"peer": peer, "precision": precision, **wanted}
        if all(result.settings.get(name) in _several(value) for name, value in demanded.items()):
            yield result


def score_pairs(result: Result) -> list[ScorePair]:
    """Scores beside those of a peer: one pair a training, or a method of a whole comparison; without a peer none."""
    if "peer" not in result.settings:
        return []
    items, chance = result.values("ours", "test_items")[0], 1 / CLASSES[result.settings["task"]]
    methods = result.settings["methods"] if tells_methods(result) else [None]
    return [
        ScorePair(*(mean_score(result, case, method) for case in ("ours", peer_of(result))), items, chance)
        for method in methods
    ]


def tells_methods(result: Result) -> bool:
    """Whether a result is a whole comparison that recorded what each of its methods took and scored."""
    return bool(result.samples["ours"][0].values.get("by_method"))


def uncertainty(score: float, items: int) -> float:
    """Half of a 95 % interval of a test score.

    Examples
    --------
    >>> round(uncertainty(0.5, 96), 3)
    0.098
    """
    share = (score * items + 2) / (items + 4)  # Agresti and Coull: an interval at a perfect score too
    return 1.96 * math.sqrt(share * (1 - share) / items)


def mean_score(result: Result, case: str, method: str | None = None) -> float:
    """Mean over the repetitions of the test score by which the task selects, of one method where one is named."""
    if method is None:
        found = result.values(case, "scores")
    else:
        found = [totals[method]["scores"] for totals in result.values(case, "by_method")]
    return sum(scores[metric_of(result)] for scores in found) / len(found)


def metric_of(result: Result) -> str:
    """The metric of the task that is compared by."""
    return "balanced_accuracy" if result.settings["task"] == "solar-cells" else "accuracy"


def guesses(score: float, items: int, chance: float) -> bool:
    """Whether chance explains all that a score lies above that of guessing."""
    return score - chance <= uncertainty(score, items)


def verdict(result: Result) -> str:
    """Say in words how scores compare with the peer's; of several methods, in how many so."""
    words = [pair.verdict for pair in score_pairs(result)]
    if len(words) == 1:
        return words[0]
    return ", ".join(f"{count} {found}" for found, count in Counter(words).items())


def _name(result: Result) -> str:
    """Task and method, with the peer where it is not the usual one."""
    peer = [] if peer_of(result) == "trainer" else [peer_of(result)]
    return ", ".join([result.settings["task"], result.settings.get("method", "grid"), *peer])


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _ratios(results: Iterator[Result], bound: Fraction) -> list[Value]:
    return [Value(_name(result), time_ratio(result), float(bound), False, "ratio", result) for result in results]


def _text(results: Sequence[Result], precision: str) -> Iterator[Result]:
    """Methods that train on text from the input on, where ours computed in a precision."""
    forced = (None, precision)
    for result in peers_where(results, precision=forced, task="movie-reviews", method=("lora", "adapter", "full")):
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
        Value(
            program if case == program else f"{program}, {case}",
            result.spread(case, "start_seconds"),
            START_SECONDS.get(program, FIRST_STEP_SECONDS),
            False,
            "seconds",
            result,
        )
        for result in of_part(results, "start")
        for program in [next(iter(result.samples))]
        for case in (program, NEW_CACHE)
        if case in result.samples
    ]


def _partial(precision: str | None) -> Target:
    return Target(
        "partial fine-tuning, top third",
        f"at most {PARTIAL} of the plain script's time",
        lambda results: _ratios(peers_where(results, precision=precision, method="partial"), PARTIAL),
    )


def _fastai(precision: str | None) -> Target:
    return Target(
        "full fine-tuning, vision, against fastai",
        f"at most {FASTAI} of fastai's time",
        lambda results: _ratios(peers_where(results, ("fastai", "fastai-fine-tune"), precision), FASTAI),
    )


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
    _partial(None),
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
    _fastai(None),
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
IN_FLOAT32 = (_partial("float32"), _fastai("float32"))
"""Targets that name no precision, where ours was told to compute in float32."""
