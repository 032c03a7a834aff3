"""`python -m ftkit` is the same as `ftkit`."""

from __future__ import annotations

from ftkit.cli import main

if __name__ == "__main__":  # not where a child process imports it
    main()
