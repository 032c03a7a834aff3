"""A function in a process of its own: its answer, its errors, its memory, and what ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftkit.child_process import in_child_process
from ftkit.errors import FtkitError, UnknownNameError
from ftkit.memory import peak_memory
from ftkit.methods import as_method

HELD = 600_000_000
LONG = 60
PROGRAM = f"""
import sys, time
from pathlib import Path
from ftkit.child_process import in_child_process

def work(folder):
    '''Write down every interruption, and go on for a while after the first.'''
    (folder / "began").write_text("")
    try:
        time.sleep({LONG})
    except KeyboardInterrupt:
        (folder / "interrupted").write_text("once")
        try:
            time.sleep(3)
        except KeyboardInterrupt:
            (folder / "interrupted").write_text("twice")
        raise
    finally:
        (folder / "ended").write_text("")

if __name__ == "__main__":
    in_child_process(work, Path(sys.argv[1]))
"""


def test_a_function_answers_from_another_process() -> None:
    assert in_child_process(os.getpid).value != os.getpid()
    assert in_child_process(sorted, [2, 3, 1], reverse=True).value == [3, 2, 1]


def test_its_memory_is_counted_and_goes_with_it() -> None:
    before = peak_memory()
    outcome = in_child_process(eval, f"len(bytearray({HELD}))")
    assert outcome.value == HELD
    assert HELD < outcome.peak_memory_bytes - before < HELD + 300_000_000
    assert peak_memory() - before < HELD / 10


def test_errors_come_through_as_they_are() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'lora'"):
        in_child_process(as_method, "lorra")


def test_an_error_that_cannot_be_sent_arrives_in_its_words() -> None:
    class_of_the_other_process = "class Odd(Exception):\n    pass\nraise Odd('left and right')"
    with pytest.raises(RuntimeError, match="Odd: left and right"):
        in_child_process(exec, class_of_the_other_process, {})


def test_a_killed_process_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(FtkitError, match="most often because memory ran out"):
        in_child_process(signal.raise_signal, signal.SIGKILL)


@contextmanager
def program(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The program at work, in a session of its own as in a terminal of its own."""
    path = folder / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(path), str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_until((folder / "began").exists)
        yield process
    finally:
        process.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    """Look at a condition until it holds."""
    deadline = time.monotonic() + LONG / 2
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("sent", ["kill", "killpg"])  # to the process that waits; to both, as terminals do
def test_every_ctrl_c_reaches_the_function_once(sent: str, presses: int, tmp_path: Path) -> None:
    with program(tmp_path) as process:
        getattr(os, sent)(process.pid, signal.SIGINT)
        wait_until((tmp_path / "interrupted").exists)
        if presses == 2:
            time.sleep(0.2)
            getattr(os, sent)(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=LONG / 2)
        assert (tmp_path / "interrupted").read_text(encoding="utf-8") == ("once" if presses == 1 else "twice")
        assert (tmp_path / "ended").exists()
        assert errors.strip().endswith("KeyboardInterrupt")
        assert process.returncode == -signal.SIGINT


def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with program(tmp_path) as process:
        child = [each for each in children(process.pid) if "spawn_main" in command(each)]
        assert len(child) == 1
        process.kill()
        process.wait()
        wait_until(lambda: "spawn_main" not in command(child[0]))
        assert not (tmp_path / "interrupted").exists()


def children(parent: int) -> list[int]:
    """Process numbers of a process's children."""
    import psutil

    return [child.pid for child in psutil.Process(parent).children()]


def command(number: int) -> str:
    """What a process was started with; nothing where it has ended."""
    import psutil

    try:
        return " ".join(psutil.Process(number).cmdline())
    except psutil.NoSuchProcess:
        return ""
