"""Execute the lessons in place, each in a clean kernel, or check that what is saved came from the code that is there.

    python tools/notebooks.py notebooks/01_text.ipynb    # execute and save
    python tools/notebooks.py                            # all of them
    python tools/notebooks.py --check                    # execute nothing; fail where a notebook is out of date

Executing writes into the notebook's metadata the hash of its code, the seconds that it took, the peak memory of its
kernel and the name of the processor. Runs go to a private folder that is removed afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient

from ftkit.processor import processor_name

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
CHECKED = "nbval-check-output"
FEWEST_CHECKED = 6
LONGEST_CELL_SECONDS = 900
OURS = "ftkit"
WIDGET = "application/vnd.jupyter.widget-view+json"
PROGRESS_BAR = re.compile(r"\d+%\|")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


@dataclass(frozen=True)
class Measured:
    """What an execution took.

    Attributes
    ----------
    seconds
        Wall time, the start of the kernel included.
    peak_memory_bytes
        Highest resident memory of the kernel: the system's own account on Linux, elsewhere as seen five times a second.
    """

    seconds: float
    peak_memory_bytes: int


class KernelMemory:
    """Watch the resident memory of a process while the context is open."""

    def __init__(self, process_id: int) -> None:
        self.process = psutil.Process(process_id)
        self.peak_bytes = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> KernelMemory:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.2):
            try:
                self.peak_bytes = max(self.peak_bytes, _highest_memory(self.process))
            except psutil.Error:
                return


def _highest_memory(process: psutil.Process) -> int:
    """Highest resident memory so far in bytes; where the system keeps no account of it, the present one."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return process.memory_info().rss
    highest = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return process.memory_info().rss if highest is None else int(highest) * 1024


def code_cells(notebook: Any) -> list[Any]:
    """Return the code cells in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def code_hash(notebook: Any) -> str:
    """SHA-256, in hexadecimal, of the code of all cells in order, trailing white space apart."""
    digest = hashlib.sha256()
    for cell in code_cells(notebook):
        digest.update(cell.source.rstrip().encode() + b"\0")
    return digest.hexdigest()


def execute(notebook: Any, folder: Path) -> Measured:
    """Run all cells in a new kernel that works in a folder; outputs are written into the notebook."""
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=LONGEST_CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ftkit-runs-") as runs:
        environment = {**os.environ, "FTKIT_RUNS": runs}
        with client.setup_kernel(env=environment), KernelMemory(client.km.provisioner.pid) as memory:
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
    return Measured(time.perf_counter() - started, memory.peak_bytes)


def normalise(notebook: Any) -> None:
    """Leave nothing that changes from one execution to the next without meaning anything."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNEL,
            "language_info": {"name": "python"},
            **({OURS: notebook.metadata[OURS]} if OURS in notebook.metadata else {}),
        }
    )
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
        if cell.cell_type == "code":
            cell.outputs = _joined([_still(output) for output in cell.outputs if not _is_progress(output)])


def _is_progress(output: Any) -> bool:
    text = output.get("text", "") if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
    return bool(PROGRESS_BAR.search(text))


def _joined(outputs: list[Any]) -> list[Any]:
    """Join pieces of one stream: where it is cut depends on the moment."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _still(output: Any) -> Any:
    """A saved widget has lost its kernel: keep what it says in HTML and plain text."""
    data = output.get("data", {})
    if WIDGET in data and "text/html" in data:
        del data[WIDGET]
    return output


def problems(notebook: Any) -> list[str]:
    """Say in what way a saved notebook does not show what its code does; an empty list is well."""
    found = []
    cells = code_cells(notebook)
    if notebook.metadata.get(OURS, {}).get("code_sha256") != code_hash(notebook):
        found.append("the code is not the code that was executed")
    counts = [cell.execution_count for cell in cells]
    if None in counts:
        found.append(f"{counts.count(None)} code cells were not executed")
    elif counts != list(range(1, len(cells) + 1)):
        found.append("the cells were not executed once each, from the first to the last")
    errors = [output.ename for cell in cells for output in cell.outputs if output.output_type == "error"]
    if errors:
        found.append(f"cells ended in errors: {', '.join(errors)}")
    checked = [cell for cell in cells if CHECKED in cell.metadata.get("tags", ())]
    if len(checked) < FEWEST_CHECKED:
        found.append(f"{len(checked)} cells carry the tag {CHECKED}; at least {FEWEST_CHECKED} must")
    empty = [cell["id"] for cell in checked if not cell.outputs]
    if empty:
        found.append(f"checked cells without an output: {', '.join(empty)}")
    return found


def run(path: Path) -> None:
    """Execute a notebook and save it; where a cell fails, the file stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    measured = execute(notebook, path.parent)
    notebook.metadata[OURS] = {
        "code_sha256": code_hash(notebook),
        "seconds": round(measured.seconds),
        "peak_memory_megabytes": round(measured.peak_memory_bytes / 1e6),
        "processor": processor_name(),
    }
    normalise(notebook)
    nbformat.validate(notebook)
    temporary = path.with_suffix(".part")
    nbformat.write(notebook, temporary)
    temporary.replace(path)
    size = path.stat().st_size / 1e6
    print(f"{path.name}: {measured.seconds:.0f} s, {measured.peak_memory_bytes / 1e6:,.0f} MB peak, file {size:.2f} MB")


def main() -> int:
    """Run the command line; the exit status is 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in notebooks/")
    parser.add_argument("--check", action="store_true", help="execute nothing, only check what is saved")
    arguments = parser.parse_args()
    paths = arguments.notebooks or sorted(FOLDER.glob("*.ipynb"))
    failed = False
    for path in paths:
        if arguments.check:
            found = problems(nbformat.read(path, as_version=4))
            failed = failed or bool(found)
            print(f"{path.name}: {'; '.join(found) if found else 'as executed'}")
        else:
            run(path)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
