"""`python -m ftkit` is the same as `ftkit`."""

from __future__ import annotations

from ftkit.cli import main

main()
