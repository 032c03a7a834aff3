"""Which revision of the kit made something."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
"""Folder that holds the package: a checkout's root, or where pip installed it."""


@functools.cache
def revision(root: Path = ROOT) -> str:
    """Name the commit of a checkout, with ``+`` where the package differs from it; empty where there is no checkout.

    Parameters
    ----------
    root
        Folder of the checkout; default the one that this package was imported from.

    Returns
    -------
    str
        The first twelve digits of the commit, as in ``"83bc2a4d0f1e"`` or ``"83bc2a4d0f1e+"``.
    """
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", "ftkit")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    """Ask git, and return what it says."""
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
