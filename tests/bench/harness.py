"""Run functions in turns, each in a fresh process, and keep what they measured."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftkit.paths import data_folder, write_text

WORKER = Path(__file__).with_name("worker.py")
OFFLINE = {
    # Peers and ours on the same processor, also where there is a GPU.
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "true",
}
NOT_KEPT = "not kept"
"""Stands for a commit that was not written down."""
CHANGED = "+"
"""Ends a commit from which the code differed."""
EVERYTHING_OFF, CHECKPOINTED = "everything off", "with activation checkpointing"
"""Cases of an ablation in which more, or something else, is changed than one piece."""
IMPORTED_AT_ONCE = "everything imported at once"
"""Case of a start in which no import is late."""
NEW_CACHE = "nothing but downloads in the cache"
"""Case of a start in which no precision was chosen, and no data prepared, before."""


class BenchError(RuntimeError):
    """A benchmarked function failed."""


@dataclass(frozen=True)
class Call:
    """A function to run in a process of its own.

    Attributes
    ----------
    function
        ``"module:name"``, importable from this folder; it returns a dataclass or a dictionary of plain values.
    arguments
        Its keyword arguments, plain values.
    """

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def given(self, **arguments: Any) -> Call:
        """Return the same call with more arguments, such as a seed."""
        return Call(self.function, {**self.arguments, **arguments})


@dataclass(frozen=True)
class Bench:
    """What is to be measured.

    Attributes
    ----------
    part, name, settings
        See `Result`.
    cases
        The calls that are run in turns, by name.
    seeded
        Whether every repetition has a seed of its own, the same for all cases, so that scores spread as they do.
    """

    part: str
    name: str
    settings: dict[str, Any]
    cases: Mapping[str, Call]
    seeded: bool = False

    @property
    def title(self) -> str:
        """Part and name, for messages."""
        return f"{self.part} {self.name}"


@dataclass(frozen=True)
class Sample:
    """One call's outcome.

    Attributes
    ----------
    values
        What the function returned.
    seconds
        What it took, its imports included.
    processor_seconds
        CPU time in those seconds, over all threads. Far below ``seconds`` times the threads where a process was
        paused or shared its cores: such a sample is not to be trusted.
    peak_bytes
        Highest resident memory of its process, with the largest process that this one started.
    machine
        As `ftkit.experiments.machine.Machine` describes it.
    commit
        Of the kit that was measured; empty where it was not kept.
    """

    values: dict[str, Any]
    seconds: float
    processor_seconds: float
    peak_bytes: int
    machine: dict[str, Any]
    commit: str = ""

    @property
    def busy(self) -> float:
        """Share of the cores' time that the process had; a little over one is rounding."""
        return self.processor_seconds / (self.seconds * self.machine["threads"])


@dataclass(frozen=True)
class Spread:
    """Median of repeated measurements with the lowest and the highest."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise measurements.

        Examples
        --------
        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0, count=3)
        """
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Result:
    """One benchmark: several cases, each measured as often as the others.

    Attributes
    ----------
    part
        What kind of benchmark, such as ``"peers"``.
    name
        Which one of its kind.
    settings
        What it was called with.
    samples
        Case to its samples, in the order in which they were taken.
    created
        When, in ISO format.
    """

    part: str
    name: str
    settings: dict[str, Any]
    samples: dict[str, list[Sample]]
    created: str

    @property
    def machine(self) -> dict[str, Any]:
        """The machine that the first sample was taken on."""
        return next(iter(self.samples.values()))[0].machine

    @property
    def processor(self) -> str:
        """The processor of that machine."""
        return str(self.machine["processor"])

    @property
    def commits(self) -> list[str]:
        """Commits of the kit that its samples were taken of, each once."""
        commits = (sample.commit or NOT_KEPT for samples in self.samples.values() for sample in samples)
        return list(dict.fromkeys(commits))

    def values(self, case: str, key: str) -> list[Any]:
        """One of the returned values, from every sample of a case."""
        return [sample.values[key] for sample in self.samples[case]]

    def spread(self, case: str, key: str) -> Spread:
        """Summarise one of the returned values of a case."""
        return Spread.of(self.values(case, key))

    def memory(self, case: str) -> Spread:
        """Peak resident memory of a case in bytes."""
        return Spread.of([sample.peak_bytes for sample in self.samples[case]])

    def ratio(self, case: str, reference: str, key: str) -> Spread:
        """One case against another: ratios of the samples taken one after the other."""
        pairs = zip(self.values(case, key), self.values(reference, key), strict=True)
        return Spread.of([value / against for value, against in pairs])

    def save(self, folder: Path) -> Path:
        """Write the result as JSON, whole or not at all; an older one of the same name and machine is replaced."""
        path = folder / folder_name(self.processor) / f"{self.part}-{self.name}.json"
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what `save` wrote."""
        read = json.loads(path.read_text(encoding="utf-8"))
        samples = {case: [Sample(**sample) for sample in taken] for case, taken in read["samples"].items()}
        return cls(**{**read, "samples": samples})


def results_folder() -> Path:
    """Where results go unless told otherwise: in it, every processor has a folder."""
    return data_folder() / "evidence" / "bench"


def folder_name(processor: str) -> str:
    """Name the folder of a processor's results.

    Examples
    --------
    >>> folder_name("Intel(R) Xeon(R) Processor")
    'intel-xeon-processor'
    """
    return re.sub(r"[^a-z0-9]+", "-", processor.lower().replace("(r)", " ")).strip("-")


def load_results(folder: Path) -> list[Result]:
    """Read the results of every processor, in the order of their names."""
    return [Result.load(path) for path in sorted(folder.glob("*/*.json"))]


def run(call: Call) -> Sample:
    """Run a function in a fresh process.

    Raises
    ------
    BenchError
        If it failed; the message ends with what it wrote last.
    """
    with tempfile.TemporaryDirectory(prefix="ftkit-bench-") as folder:
        outcome = Path(folder) / "sample.json"
        process = subprocess.run(
            [sys.executable, str(WORKER), str(outcome)],
            input=json.dumps(asdict(call)),
            env={**os.environ, **OFFLINE},
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode or not outcome.exists():
            raise BenchError(
                f"{call.function} with {call.arguments} ended with {process.returncode}:\n{process.stderr[-3000:]}"
            )
        return Sample(**json.loads(outcome.read_text(encoding="utf-8")))


def alternate(bench: Bench, repeats: int) -> Result:
    """Run the cases in turns (A B B A A B ...), so that a slow minute of the machine falls on all of them."""
    samples: dict[str, list[Sample]] = {case: [] for case in bench.cases}
    for repetition in range(repeats):
        calls = list(bench.cases.items())
        for case, call in calls if repetition % 2 == 0 else reversed(calls):
            sample = run(call.given(seed=repetition) if bench.seeded else call)
            samples[case].append(sample)
            print(f"{bench.title}: {case}, {repetition + 1} of {repeats}: {_shortly(sample)}", flush=True)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Result(bench.part, bench.name, bench.settings, samples, created)


def _shortly(sample: Sample) -> str:
    fit = sample.values.get("fit_seconds")
    fitted = "" if fit is None else f"fit {fit:.2f} s, "
    return (
        f"{fitted}{sample.seconds:.1f} s in all, cores {sample.busy:.0%} busy, {sample.peak_bytes / 1e6:,.0f} MB peak"
    )
