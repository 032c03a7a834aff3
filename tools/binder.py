"""Write binder/requirements.txt: what the kit and its lab need, at the tested versions, with CPU builds of torch.

``python tools/binder.py`` writes the file, ``--check`` fails where it is out of date.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "binder" / "requirements.txt"
HEADER = """\
# Written by tools/binder.py from pyproject.toml and constraints.txt; edit those.
--extra-index-url https://download.pytorch.org/whl/cpu
"""


def requirements() -> str:
    """Return the file's text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["lab"]]
    pins = dict(
        line.split("==", 1) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split() if "==" in line
    )
    by_name = {normalised(name): version for name, version in pins.items()}
    names = sorted(normalised(re.split(r"[<>=\[ ]", requirement, maxsplit=1)[0]) for requirement in wanted)
    return HEADER + "".join(f"{name}=={by_name[name]}\n" for name in names)


def normalised(name: str) -> str:
    """Spell a distribution's name as package indexes do."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    if "--check" in sys.argv:
        if TARGET.read_text(encoding="utf-8") != requirements():
            sys.exit("binder/requirements.txt is out of date: run `python tools/binder.py`.")
    else:
        TARGET.write_text(requirements(), encoding="utf-8")
