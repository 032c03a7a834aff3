"""The control groups of this process, by which containers and batch systems limit what it may use on Linux."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

__all__ = ["CONTROL_GROUPS", "OWN_GROUPS", "first_text", "own_groups"]

CONTROL_GROUPS = Path("/sys/fs/cgroup")
"""Where they are mounted."""
OWN_GROUPS = Path("/proc/self/cgroup")
"""Names those of this process."""


def own_groups(own: Path = OWN_GROUPS) -> set[PurePosixPath]:
    """The process's control groups and all above them, which limit it too, below where they are mounted.

    Parameters
    ----------
    own
        The file that names them.

    Examples
    --------
    >>> own_groups(Path("nowhere"))
    {PurePosixPath('.')}
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = {PurePosixPath(line.split(":", 2)[2].strip("/")) for line in lines if line.count(":") >= 2}
    return {PurePosixPath(), *named, *(above for group in named for above in group.parents)}


def first_text(*paths: Path) -> str:
    """Return what the first of some files holds that can be read; nothing where none can.

    Examples
    --------
    >>> first_text(Path("nowhere"))
    ''
    """
    for path in paths:
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError:
            continue
    return ""
