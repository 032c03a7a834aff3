"""Make the recorded evidence, write its page, or train some of it again and compare.

``python tools/evidence.py make`` makes the trials and experiments that are missing and writes the page; names of
experiments make those alone. ``python tools/evidence.py page`` writes data/evidence/README.md and its figures from the
records, ``python tools/evidence.py check`` trains a sample of the recorded trainings again and fails where a score lies
outside the recorded interval or answers or measures differ; with ``--record`` the page tells of it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import evidence_check
import evidence_make
import evidence_page

from ftkit.experiments.library import EXPERIMENTS

EVIDENCE = Path(__file__).parent.parent / "data" / "evidence"


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("page", help="write the page and its figures")
    make = commands.add_parser("make", help="make what is missing, and write the page")
    make.add_argument("names", nargs="*", metavar="EXPERIMENT", help=f"default all: {', '.join(EXPERIMENTS)}")
    make.add_argument("--workers", type=int, help="commands at a time; default one for each processor")
    check = commands.add_parser("check", help="train a sample again and compare")
    check.add_argument("--count", type=int, default=6, help="how many trainings; default 6")
    check.add_argument("--seed", type=int, default=0, help="seed of the draw; default 0")
    check.add_argument("--record", action="store_true", help="keep what came out for the page")
    arguments = parser.parse_args()
    if arguments.command == "make":
        for name in arguments.names:
            if name not in EXPERIMENTS:
                parser.error(f"no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
        failed = evidence_make.make(EVIDENCE, arguments.names or list(EXPERIMENTS), arguments.workers)
        print(evidence_page.write_page(EVIDENCE))
        if failed:
            sys.exit(f"Not finished: {', '.join(failed)}. The same command goes on with them.")
    elif arguments.command == "page":
        print(evidence_page.write_page(EVIDENCE))
    else:
        if arguments.count < 1:
            parser.error(f"--count {arguments.count}: train one again, or more")
        kept = evidence_page.checks(EVIDENCE) / f"seed-{arguments.seed}.json" if arguments.record else None
        if not evidence_check.check(EVIDENCE / "experiments", arguments.count, arguments.seed, kept):
            sys.exit("A score lies outside the interval of the recorded one, or answers or measures differ.")


if __name__ == "__main__":
    main()
