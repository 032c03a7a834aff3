"""Run a function in a process of its own: what it loaded and held goes back to the system with it, to the last byte."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Generic, TypeVar

from ftkit.errors import FtkitError
from ftkit.memory import peak_memory

__all__ = ["Outcome", "in_child_process"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What came of a function in a process of its own.

    Attributes
    ----------
    value
        What it returned.
    peak_memory_bytes
        Highest memory of that process and of this one together.
    """

    value: Value
    peak_memory_bytes: int


def in_child_process(function: Callable[..., Value], *arguments: Any, **options: Any) -> Outcome[Value]:
    """Call a function in a fresh process, and wait for it.

    What it prints appears here. Every Ctrl-C reaches it once, as a `KeyboardInterrupt`, however it was sent (on Windows
    it ends the process at once), and should this process be killed it ends, too.

    Parameters
    ----------
    function
        Of a module, or a method of an object that can be pickled; the fresh process imports it.
    *arguments, **options
        Its arguments, which can be pickled, as what it returns can.

    Raises
    ------
    FtkitError
        If the process was killed.
    Exception
        Whatever the function raises; a `RuntimeError` with its words where that can't be pickled.

    Examples
    --------
    >>> in_child_process(divmod, 7, 2).value
    (3, 1)
    """
    others = active_children()
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_heed_the_parent) as pool:
        with _left_to_the_parent():
            future = pool.submit(_measured, function, arguments, options)
        try:
            value, peak = future.result()
        except KeyboardInterrupt:
            _interrupt_until_done(future, [child for child in active_children() if child not in others])
            raise
        except BrokenProcessPool as error:
            raise FtkitError(
                "A process that was at work has been killed, most often because memory ran out. Close what else is "
                "open, such as notebooks, and run the same command again."
            ) from error
    return Outcome(value, peak + peak_memory())


def _measured(function: Callable[..., Value], arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Value, int]:
    try:
        value = function(*arguments, **options)
    except Exception as error:
        if not _can_be_sent(error):
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise
    return value, peak_memory()


def _can_be_sent(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True


def _interrupt_until_done(future: Future[Any], children: Sequence[BaseProcess]) -> None:
    """Pass Ctrl-C on, every one that comes until the work has ended."""
    while not future.done():
        for child in children:
            child.terminate()
        with suppress(KeyboardInterrupt):
            wait([future])


@contextmanager
def _left_to_the_parent() -> Iterator[None]:
    """Let processes that start meanwhile ignore Ctrl-C, which a terminal sends to all: their parent passes it on."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is sent signals and may say what becomes of them
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _heed_the_parent() -> None:
    """Be interrupted when the parent ends this process, and end when the parent was killed."""
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # nobody waits for an answer; files are written whole or not at all
