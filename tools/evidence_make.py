"""Make what the evidence lacks: several commands at a time, each with its share of the processors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ftkit.experiments.experiment import EXAMPLES
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.record import training_of
from ftkit.methods import METHODS, USUAL_METHODS
from ftkit.processor import usable_cores
from ftkit.tasks import TASKS

KIT = (sys.executable, "-m", "ftkit")


@dataclass(frozen=True)
class Search:
    """Trials that are recorded: the task, its training examples, rates and settings a method, which methods."""

    task: str
    examples: int
    trials: int
    methods: str = "all"
    choices: int = 2

    @property
    def name(self) -> str:
        """By task and size, as the file is called."""
        return f"{self.task}-{self.examples}"


SEARCHES = (
    Search("movie-reviews", EXAMPLES, 5),
    Search("movie-reviews", 2500, 5, ",".join(USUAL_METHODS)),  # for all of the task's 5,000, and for about half
    Search("solar-cells", EXAMPLES, 5),
    # without "scratch": in three epochs of 400 clips it learns next to nothing at any rate, so chance would choose
    Search("spoken-digits", EXAMPLES, 5, ",".join(name for name in METHODS if name != "scratch")),
    Search("spoken-digits", 800, 5, ",".join(USUAL_METHODS)),
)
"""A training takes its learning rate from the trials on the size nearest to its own."""


@dataclass(frozen=True)
class Job:
    """A command by its name; it goes on where it stopped."""

    name: str
    command: tuple[str, ...]


def make(folder: Path, names: Sequence[str], workers: int | None = None) -> list[str]:
    """Make trials and experiments, and return the names of the commands that failed.

    Where trials fail no experiment is begun, for its learning rates would be other ones.

    Parameters
    ----------
    folder
        Of the evidence; trials go to ``tuning``, records to ``experiments``.
    names
        Experiments to make. The trials come first where all are: the methods' learning rates are taken from them.
    workers
        Commands at a time; default one for each processor. Two of one thread finish earlier than one of two threads
        twice.
    """
    workers = workers or usable_cores()
    # each task once for every worker: who has nothing else left takes a part of what another is at
    stages = [workers * experiments(folder, names)]
    if set(names) == set(EXPERIMENTS):
        stages.insert(0, trials(folder))
    for jobs in stages:
        failed = run_all(jobs, workers)
        if failed:
            return list(dict.fromkeys(failed))
    return []


def trials(folder: Path) -> list[Job]:
    """One job a search: learning rates tried for every method of it."""
    return [
        Job(
            f"tune {each.name}",
            (
                *(*KIT, "tune", each.task, "--limit", str(each.examples), "--epochs", "3"),
                *("--trials", str(each.trials), "--choices", str(each.choices), "--methods", each.methods),
                *("--output", str(folder / "tuning" / f"{each.name}.json")),
            ),
        )
        for each in SEARCHES
    ]


def experiments(folder: Path, names: Sequence[str]) -> list[Job]:
    """One job a task, for trainings on one task are shared by experiments; the task that is asked most comes first."""
    asked = {task: [name for name in names if EXPERIMENTS[name].on_task(task).conditions] for task in TASKS}
    trainings = {
        task: {training_of(each) for name in names for each in EXPERIMENTS[name].on_task(task).conditions}
        for task in TASKS
    }
    where = str(folder / "experiments")
    return [
        Job(task, (*KIT, "experiment", *asked[task], "--task", task, "--folder", where))
        for task in sorted(TASKS, key=lambda task: -len(trainings[task]))
        if asked[task]
    ]


def run_all(jobs: Sequence[Job], workers: int) -> list[str]:
    """Run commands, some at a time, and return the names of those that failed.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, which the commands hear too; what they have made is kept, and none is begun any more.
    """
    threads = max(1, usable_cores() // workers)
    pool = ThreadPoolExecutor(workers)
    try:
        succeeded = list(pool.map(partial(run, threads=threads), jobs))
    except KeyboardInterrupt:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
    return [job.name for job, well in zip(jobs, succeeded, strict=True) if not well]


def run(job: Job, threads: int) -> bool:
    """Run a command with so many threads, tell what it says with its name before it, and whether it ended well."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        job.command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # a pipe was asked for
        for line in process.stdout:
            # The end of the line in the same write: print makes two, and another job's line could come between.
            print(f"{job.name}: {line.rstrip()}\n", end="", flush=True)
    return process.returncode == 0
