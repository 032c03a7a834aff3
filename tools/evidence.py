"""Write the page of the recorded experiments, or train some of them again and compare.

``python tools/evidence.py page`` writes data/evidence/README.md and its figures from the records,
``python tools/evidence.py check`` trains a sample of the recorded trainings again and fails where a score lies outside
the recorded interval or answers differ, ``python tools/evidence.py names`` lists the experiments, in the order in which
they are made.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import evidence_check
import evidence_page

from ftkit.experiments.library import EXPERIMENTS

EVIDENCE = Path(__file__).parent.parent / "data" / "evidence"


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evidence", type=Path, default=EVIDENCE, help="folder with experiments/; default: the kit's")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("page", help="write the page and its figures")
    commands.add_parser("names", help="list the experiments")
    check = commands.add_parser("check", help="train a sample again and compare")
    check.add_argument("--count", type=int, default=6, help="how many trainings; default 6")
    check.add_argument("--seed", type=int, default=0, help="seed of the draw; default 0")
    arguments = parser.parse_args()
    if arguments.command == "names":
        print(*EXPERIMENTS, sep="\n")
    elif arguments.command == "page":
        print(evidence_page.write_page(arguments.evidence))
    elif not evidence_check.check(arguments.evidence / "experiments", arguments.count, arguments.seed):
        sys.exit("A score lies outside the interval of the recorded one.")


if __name__ == "__main__":
    main()
