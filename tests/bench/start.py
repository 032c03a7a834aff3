"""Seconds from the start of a process: to the command's help, to the package, to the first step of a training.

With late imports, as they are, or with every import of the package done at once, as if it stood at the top of its file;
and of a training, with nothing in the cache but the downloads too.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ftkit
from ftkit.paths import cache_folder

EXAMPLES = 200
HELP = """
import runpy, sys
sys.argv = ["ftkit", "--help"]
runpy.run_module("ftkit", run_name="__main__")
"""
FIRST_STEP = """
import ftkit
from ftkit.training.callbacks import Callback

class First(Callback):
    def on_step(self, training, step):
        raise SystemExit

task = ftkit.load_task("{task}", limit={examples})
ftkit.fine_tune(task, "{method}", epochs=1, callbacks=[First()], progress=False)
"""
TRAININGS = {
    "first step": ("movie-reviews", "full"),
    "first step with LoRA": ("movie-reviews", "lora"),
    "first step on pictures": ("solar-cells", "full"),
    "first step on speech": ("spoken-digits", "full"),
}
"""Task and method of the programs that begin to train."""
AT_ONCE = """
import contextlib, importlib
for name in {names}:
    with contextlib.suppress(ImportError):  # of an extra that is not installed
        importlib.import_module(name)
"""
PROGRAMS = {
    "help": HELP,
    "import": "import ftkit",
    **{
        name: FIRST_STEP.format(task=task, method=method, examples=EXAMPLES)
        for name, (task, method) in TRAININGS.items()
    },
}
"""What is started: name to its source."""
BEGINS_WITH = {"help": "ftkit.__main__"}
"""The module of the package that a program imports first, where it is not the package itself."""


def seconds(program: str, at_once: bool = False, new_cache: bool = False) -> dict[str, Any]:
    """Run a program of `PROGRAMS` to its end in a process of its own.

    Parameters
    ----------
    program
        Its name.
    at_once
        Whether every import that it may come to is made first.
    new_cache
        Whether the cache holds nothing but the downloads: precision is not chosen, data not prepared.
    """
    command = [sys.executable, "-c", source(program, at_once)]
    with _downloads_alone() if new_cache else nullcontext(cache_folder()) as cache:
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "FTKIT_CACHE": str(cache)})
        return {"start_seconds": time.perf_counter() - started}


@contextmanager
def _downloads_alone() -> Iterator[Path]:
    """Lend a cache that has the downloads of the usual one."""
    with tempfile.TemporaryDirectory(prefix="ftkit-bench-") as folder:
        (Path(folder) / "assets").symlink_to(cache_folder() / "assets", target_is_directory=True)
        yield Path(folder)


def source(program: str, at_once: bool) -> str:
    """Return what Python is given for a program."""
    early = AT_ONCE.format(names=sorted(imports_from(BEGINS_WITH.get(program, "ftkit")))) if at_once else ""
    return early + PROGRAMS[program]


def imports_from(first: str) -> set[str]:
    """Names of all modules that a module of the package imports anywhere, or one of the package that it imports does.

    Examples
    --------
    >>> "torch" in imports_from("ftkit")
    True
    """
    found, waiting = {first}, [first]
    while waiting:
        new = set(_imports_of(waiting.pop())) - found
        found |= new
        waiting += [name for name in new if name.partition(".")[0] == "ftkit"]
    return found


def _imports_of(module: str) -> Iterator[str]:
    path = _source(module)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in inner if name.partition(".")[0] == "ftkit" and _source(name).exists())


def _source(module: str) -> Path:
    """Where the source of a module of the package is."""
    place = Path(ftkit.__file__).parent.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
