"""Where ftkit keeps things, and how it writes a file whole or not at all."""

from __future__ import annotations

import getpass
import hashlib
import os
import shlex
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ftkit.errors import FtkitError

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["cache_folder", "claimed", "data_folder", "in_shell", "locked", "runs_folder", "write_bytes", "write_text"]


def data_folder() -> Path:
    """Return the folder with ``catalog.toml``, ``cards/`` and ``evidence/``.

    An installed wheel carries it as ``ftkit/data``; in a checkout it is ``data`` beside the package.

    Returns
    -------
    Path
        The folder, which exists and holds ``catalog.toml``.

    Raises
    ------
    FtkitError
        When neither place holds it: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    candidates = (package / "data", package.parent / "data")
    for folder in candidates:
        if (folder / "catalog.toml").is_file():
            return folder
    looked = " and ".join(str(folder) for folder in candidates)
    raise FtkitError(f"ftkit's data folder is missing: no catalog.toml in {looked}. Install ftkit again.")


def cache_folder() -> Path:
    """Return the folder for downloaded and prepared files.

    It is ``FTKIT_CACHE`` when that is set, else the user's cache folder for ftkit. It is not created here.

    Returns
    -------
    Path
        An absolute path.
    """
    chosen = os.environ.get("FTKIT_CACHE", "").strip()
    if chosen:
        return _absolute(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ftkit", appauthor=False))


def runs_folder() -> Path:
    """Return the folder for saved runs: ``FTKIT_RUNS`` when that is set, else ``runs`` in the current folder.

    Returns
    -------
    Path
        An absolute path. It is not created here.
    """
    return _absolute(os.environ.get("FTKIT_RUNS", "").strip() or "runs")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that lock the same file from it, so that one reads and writes it at a time.

    Parameters
    ----------
    path
        The file. An empty file in the cache folder carries the lock and stays.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "count.txt"
    >>> with locked(file):
    ...     write_text(file, "1")
    >>> file.read_text()
    '1'
    """
    with _lock(path):
        yield


@contextmanager
def claimed(name: Path, *, wait: bool) -> Iterator[bool]:
    """Claim a piece of work, so that of several processes one does it.

    Parameters
    ----------
    name
        A path that stands for the work; the same in all processes.
    wait
        Whether to wait while another process has it.

    Yields
    ------
    bool
        Whether it is ours; False only where another process has it and is not waited for. A process that dies gives
        back what it has claimed.

    Examples
    --------
    >>> with claimed(Path("a piece of work"), wait=False) as ours:
    ...     ours
    True
    """
    from filelock import Timeout

    lock = _lock(name)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _lock(path: Path) -> FileLock:
    """Lock of a path: an empty file in the cache folder, or for oneself alone where others have filled that."""
    from filelock import FileLock

    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    folder = cache_folder() / "locks"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    if not os.access(file if file.exists() else folder, os.W_OK) or not folder.is_dir():
        user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
        folder = Path(tempfile.gettempdir()) / f"ftkit-locks-{user}"
        folder.mkdir(exist_ok=True)
    return FileLock(folder / name)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write a text file in UTF-8, whole or not at all.

    Parameters
    ----------
    path
        The file to write; its folder is created when missing. An existing file is replaced.
    text
        The content; line ends are written as they are.

    Raises
    ------
    OSError
        When the file cannot be written. The file that was there before is then untouched.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_text(folder / "note.txt", "a line\n")
    >>> [file.name for file in folder.iterdir()]
    ['note.txt']
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file of bytes, whole or not at all.

    Parameters
    ----------
    path
        The file to write; its folder is created when missing. An existing file is replaced.
    data
        The content.

    Raises
    ------
    OSError
        When the file cannot be written. The file that was there before is then untouched.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A sibling is on the same file system, so the replacement is one atomic step. Its name is short and
    # does not grow with the target's, which may already be as long as the file system allows.
    temporary = target.parent / f".{uuid.uuid4().hex[:16]}.part"
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def in_shell(*words: str | Path, windows: bool = os.name == "nt") -> str:
    r"""Write words as the shell of the system reads them, so that a command that is shown can be copied.

    Parameters
    ----------
    words
        Of the command, or a path in it.
    windows
        Whether the shell is that of Windows, by default that of this system.

    Examples
    --------
    >>> in_shell("ftkit", "predict", Path("my runs"), windows=False)
    "ftkit predict 'my runs'"
    >>> in_shell("ftkit", "predict", "C:\\my runs", windows=True)
    'ftkit predict "C:\\my runs"'
    """
    if windows:
        import subprocess

        return subprocess.list2cmdline(map(str, words))
    return shlex.join(map(str, words))
