"""Measure ftkit against what people write today, against the machine and against itself.

    python tests/bench/run.py all
    python tests/bench/run.py peers --task movie-reviews --method lora --repeats 3
    python tests/bench/run.py grid
    python tests/bench/run.py ablation --task movie-reviews --method full
    python tests/bench/run.py limit
    python tests/bench/run.py growth --axis examples
    python tests/bench/run.py memory
    python tests/bench/run.py start
    python tests/bench/run.py page

Every part writes JSON files into the processor's folder among the results as soon as it has them; ``page`` draws the
results pages from them, one for each processor and one of the targets. Cases are run in turns, each in a fresh process.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from growth import AXES
from harness import (
    CHECKPOINTED,
    EVERYTHING_OFF,
    IMPORTED_AT_ONCE,
    NEW_CACHE,
    Bench,
    BenchError,
    Call,
    alternate,
    results_folder,
)
from measuring import BATCH
from targets import PROBE_EPOCHS

ALL = """
    start --repeats 3
    peers --task movie-reviews --method linear-probe --limit 5000 --test-limit 300
    peers --task movie-reviews --method partial,full,lora,adapter --epochs 4 --limit 600 --test-limit 300
    peers --task movie-reviews --method full,lora,adapter --precision float32 --epochs 4 --limit 600 --test-limit 300
    peers --task solar-cells --method linear-probe --limit 256 --test-limit 200
    peers --task solar-cells --method scratch,partial,full,lora,adapter --epochs 2 --limit 256 --test-limit 200
    peers --task solar-cells --method partial --precision float32 --epochs 2 --limit 256 --test-limit 200
    peers --task solar-cells --peer fastai --epochs 2 --limit 256 --test-limit 200
    peers --task solar-cells --peer fastai --precision float32 --epochs 2 --limit 256 --test-limit 200
    peers --task solar-cells --peer fastai-fine-tune --epochs 4 --limit 256 --test-limit 200
    peers --task solar-cells --peer fastai-fine-tune --precision float32 --epochs 4 --limit 256 --test-limit 200
    peers --task spoken-digits --method linear-probe --limit 96 --test-limit 100 --batch-size 8
    peers --task spoken-digits --method partial,full,lora --epochs 3 --limit 96 --test-limit 100 --batch-size 8
    peers --task spoken-digits --method adapter,scratch --epochs 3 --limit 96 --test-limit 100 --batch-size 8
    grid --limit 400 --epochs 4 --test-limit 300
    limit --method full
    limit --method scratch,linear-probe,partial,lora,adapter,prompt --repeats 1
    ablation --task movie-reviews --method linear-probe,partial,full,lora --epochs 2 --limit 400 --test-limit 200
    ablation --task solar-cells --method linear-probe,partial,full,lora --epochs 2 --limit 128 --test-limit 100
    ablation --task spoken-digits --method linear-probe,partial,full --epochs 3 --limit 100 --test-limit 40
    growth
    memory --parts demo
    memory --parts lessons 'composition movie-reviews' 'composition solar-cells' 'composition spoken-digits' --repeats 1
"""
"""What the results pages are made of, line by line; sizes at which the peers end too.

The plain script takes long for a clip of speech, which it pads: small batches let few clips teach it something.
"""
STEP_EXAMPLES = 480
"""Training examples over which a step is timed: fifteen batches."""
TRAINER = "trainer"
PEERS = {
    TRAINER: "peers.trainer:train",
    "fastai": "peers.fastai_vision:train",
    "fastai-fine-tune": "peers.fastai_vision:fine_tune",
}
"""Where the script of each peer is."""


# --- the parts: each yields what is to be measured


def peers(options: argparse.Namespace) -> Iterator[Bench]:
    """Ours against the plain script, or against fastai."""
    from ftkit.tasks import TASKS

    forced = {} if options.precision is None else {"precision": options.precision}
    for task in _tasks(options):
        supported = _peer_methods(options.peer, TASKS[task].modality)
        for method in _methods(options, supported):
            if method not in supported:
                print(f"peers {task} {method}: {options.peer} has no such method", file=sys.stderr)
                continue
            epochs = _epochs(options, task, method)
            arguments = {
                "task": task,
                "method": method,
                "epochs": epochs,
                "lr": _rate(task, method, options.limit or TASKS[task].default_train),
                "batch_size": options.batch_size,
                **_sizes(options),
            }
            yield Bench(
                "peers",
                "-".join([task, method, options.peer, *forced.values()]),
                {**arguments, "peer": options.peer, **forced},
                {
                    "ours": Call("ours:train", {**arguments, **forced}),
                    options.peer: Call(PEERS[options.peer], arguments),
                },
                seeded=True,
            )


def grid(options: argparse.Namespace) -> Iterator[Bench]:
    """A whole comparison: methods x learning rates x seeds, ours against the plain script."""
    from ftkit.tasks import TASKS

    task = options.task or "movie-reviews"
    methods = _methods(options, _peer_methods(TRAINER, TASKS[task].modality))
    arguments = {
        "task": task,
        "methods": methods,
        "rates": {method: _rates(method, options.trials) for method in methods},
        "seeds": options.seeds,
        "epochs": options.epochs or TASKS[task].default_epochs,
        **_sizes(options),
    }
    cases = {"ours": Call("ours:grid", arguments), TRAINER: Call("peers.trainer:grid", arguments)}
    yield Bench("grid", task, {**arguments, "peer": TRAINER}, cases)


def ablation(options: argparse.Namespace) -> Iterator[Bench]:
    """Our own loop with its pieces turned off: each alone, then all. Linear probes are also nine, as tuning trains."""
    from pieces import PIECES_OF_PROBES, pieces_of

    from ftkit.tasks import TASKS

    for task, method in _cells(options):
        arguments: dict[str, Any] = {"task": task, "epochs": _epochs(options, task, method), **_sizes(options)}
        if method == "linear-probe":
            several = {**arguments, "rates": _rates(method, 3), "seeds": 3}
            cases = {case: Call("ours:probes", {**several, "without": off}) for case, off in _off(PIECES_OF_PROBES)}
            yield Bench("ablation", f"{task}-linear-probes", {"method": method, **several}, cases)
        arguments["method"] = method
        pieces = pieces_of(method, TASKS[task].modality)
        cases = {case: Call("ours:train", {**arguments, "without": off}) for case, off in _off(pieces)}
        if method != "linear-probe":  # it has no backward pass through blocks
            cases[CHECKPOINTED] = Call("ours:train", {**arguments, "checkpointing": True})
        yield Bench("ablation", f"{task}-{method}", arguments, cases, seeded=True)


def limit(options: argparse.Namespace) -> Iterator[Bench]:
    """The share of the machine's matrix rate that a training step reaches."""
    for task, method in _cells(options):
        arguments = {"task": task, "method": method, "limit": options.limit or STEP_EXAMPLES}
        yield Bench(
            "limit", f"{task}-{method}", arguments, {"ours": Call("limit:step_against_limit", arguments)}, seeded=True
        )


def growth(options: argparse.Namespace) -> Iterator[Bench]:
    """Time and memory against size, along one axis or all."""
    common = {"task": options.task, "method": options.method, "limit": options.limit}
    given = {name: value for name, value in common.items() if value is not None}
    for axis in [options.axis] if options.axis else AXES:
        values = options.values or list(AXES[axis].values)
        cases = {str(value): Call(f"growth:{axis}", {"value": value, **given}) for value in values}
        yield Bench("growth", axis, {"values": values, **given}, cases)


def memory(options: argparse.Namespace) -> Iterator[Bench]:
    """Peak memory and seconds of the demo and of the lessons as they were last executed, and what memory is made of."""
    from ftkit.tasks import TASKS

    small = [] if options.limit is None else ["--limit", str(options.limit)]
    small += [] if options.epochs is None else ["--epochs", str(options.epochs)]
    calls = {
        "demo": Call("memory:demo", {"options": small}),
        **{f"demo {task}": Call("memory:demo", {"options": ["--tasks", task, *small]}) for task in TASKS},
        "lessons": Call("memory:lessons"),
        **{f"composition {task}": Call("memory:composition", {"task": task}) for task in TASKS},
    }
    for part in options.parts or calls:
        yield Bench("memory", part.replace(" ", "-"), calls[part].arguments, {part: calls[part]})


def start(options: argparse.Namespace) -> Iterator[Bench]:
    """Seconds from the start of a process to the help, to the package, to the first step of a training."""
    from start import PROGRAMS, TRAININGS

    for program in PROGRAMS:
        call = Call("start:seconds", {"program": program})
        cases = {program: call, IMPORTED_AT_ONCE: call.given(at_once=True)}
        if program in TRAININGS:
            cases[NEW_CACHE] = call.given(new_cache=True)
        yield Bench("start", program.lower().replace(" ", "-"), {}, cases)


PARTS = (peers, grid, ablation, limit, growth, memory, start)


# --- what the parts share


def _off(pieces: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Cases of an ablation, each with the names of what is off.

    Where everything is off, threads are still limited: a plain loop would not start more of them on this machine.
    """
    from pieces import THREADS

    yield "everything on", []
    for piece in pieces:
        yield f"without {piece}", [piece]
    if len(pieces) > 1:
        yield EVERYTHING_OFF, [piece for piece in pieces if piece != THREADS]


def _cells(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    from ftkit.methods import USUAL_METHODS

    return ((task, method) for task in _tasks(options) for method in _methods(options, USUAL_METHODS))


def _tasks(options: argparse.Namespace) -> list[str]:
    from ftkit.tasks import TASKS

    if options.task:
        return [options.task]
    wanted = None if getattr(options, "peer", TRAINER) == TRAINER else "image"
    return [name for name, info in TASKS.items() if wanted in (None, info.modality)]


def _methods(options: argparse.Namespace, known: Iterable[str]) -> list[str]:
    return options.method.split(",") if options.method else list(known)


def _peer_methods(peer: str, modality: str) -> tuple[str, ...]:
    if peer != TRAINER:
        return ("full",)
    from peers.trainer import METHODS

    return METHODS[modality]


def _epochs(options: argparse.Namespace, task: str, method: str) -> int:
    from ftkit.tasks import TASKS

    if options.epochs:
        return options.epochs
    return PROBE_EPOCHS if method == "linear-probe" else TASKS[task].default_epochs


def _rate(task: str, method: str, examples: int) -> float:
    """The learning rate that recorded trials found best, for both sides of the comparison."""
    from ftkit.experiments.trials import usual_rate
    from ftkit.methods import as_method

    return usual_rate(task, as_method(method), examples)


def _rates(method: str, count: int) -> list[float]:
    """Learning rates around the typical one, as tuning tries them."""
    from ftkit.experiments.tuning import rate_grid
    from ftkit.methods import as_method

    return rate_grid(as_method(method), count)


def _sizes(options: argparse.Namespace) -> dict[str, int | None]:
    return {"limit": options.limit, "test_limit": options.test_limit}


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--results", type=Path, default=results_folder(), help="folder of the results")
    common = argparse.ArgumentParser(add_help=False, parents=[place])
    common.add_argument("--repeats", type=int, default=2, help="runs of each case")
    common.add_argument("--task", help="one task; default: all that fit")
    common.add_argument("--method", help="one method, or several with commas; default: all that fit")
    common.add_argument("--epochs", type=int, help="passes through the training data")
    common.add_argument("--limit", type=int, help="training examples; default: the task's usual number")
    common.add_argument("--test-limit", type=int, help="test items; default: all")
    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(dest="part", required=True)
    parts = {
        function.__name__: commands.add_parser(function.__name__, help=function.__doc__, parents=[common])
        for function in PARTS
    }
    for function in PARTS:
        parts[function.__name__].set_defaults(benches=function)
    commands.add_parser("all", help="Everything that the results pages show, and the pages.", parents=[place])
    pages = commands.add_parser("page", help="Write the results pages from the results.", parents=[place])
    pages.add_argument("--check", action="store_true", help="write nothing; fail where a page is not of the results")
    parts["peers"].add_argument("--peer", choices=tuple(PEERS), default=TRAINER, help="whom to run against")
    parts["peers"].add_argument("--batch-size", type=int, default=BATCH, help="training examples a step, of both sides")
    parts["peers"].add_argument(
        "--precision", choices=("bf16", "float32"), help="of our side; default: the faster one here"
    )
    parts["grid"].add_argument("--trials", type=int, default=3, help="learning rates a method")
    parts["grid"].add_argument("--seeds", type=int, default=3, help="seeds a learning rate")
    parts["growth"].add_argument("--axis", choices=tuple(AXES), help="default: all")
    parts["growth"].add_argument("--values", type=int, nargs="+", help="the sizes")
    parts["memory"].add_argument("--parts", nargs="+", help="some of: demo, 'demo TASK', lessons, 'composition TASK'")
    return whole


def main() -> int:
    """Run the command line."""
    options = parser().parse_args()
    results = str(options.results)
    if options.part == "page":
        return check_pages(options.results) if options.check else write_pages(options.results)
    if options.part == "all":
        lines = [[*shlex.split(line), "--results", results] for line in ALL.strip().splitlines()]
        failures = sum(measure(parser().parse_args(line)) for line in lines)
        return write_pages(options.results) or min(1, failures)
    return min(1, measure(options))


def measure(options: argparse.Namespace) -> int:
    """Run what is asked for, keep every result as soon as it is there, and return how many failed."""
    failures = 0
    for bench in options.benches(options):
        try:
            print(alternate(bench, options.repeats).save(options.results), flush=True)
        except BenchError as error:
            print(f"{bench.title} failed: {error}", file=sys.stderr, flush=True)
            failures += 1
    return failures


def write_pages(results: Path) -> int:
    """Draw the results pages from the results."""
    import page

    print(page.write_pages(results))
    return 0


def check_pages(results: Path) -> int:
    """Return 1 where a page is not what `write_pages` makes of the results."""
    import page

    with tempfile.TemporaryDirectory(prefix="ftkit-bench-") as folder:
        anew = Path(folder) / "results"
        shutil.copytree(results, anew)
        page.write_pages(anew)
        old = [path for path in anew.rglob(page.PAGE) if not same_text(path, results / path.relative_to(anew))]
    for path in old:
        print(f"{results / path.relative_to(anew)} is out of date: run `tests/bench/run.py page`.", file=sys.stderr)
    return min(1, len(old))


def same_text(one: Path, other: Path) -> bool:
    """Whether two files hold the same text; one that is not there holds none."""
    return other.exists() and one.read_text(encoding="utf-8") == other.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
