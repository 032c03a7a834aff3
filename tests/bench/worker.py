"""Calls one function in a process of its own: the harness starts it, nobody else need.

It reads ``{"function": "module:name", "arguments": {...}}`` from its input. What the function returned, the seconds it
took and the peak memory, with that of processes that it started, are written to the file that it is given.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from measuring import Stopwatch, peak_memory_with_children, processor_time

PEERS = ("fastai",)


def main() -> None:
    """Run the call that the input describes."""
    from ftkit.experiments.revision import revision

    outcome, call = Path(sys.argv[1]), json.load(sys.stdin)
    module, _, name = call["function"].partition(":")
    watch, processor_before = Stopwatch(), processor_time()
    values = getattr(importlib.import_module(module), name)(**call["arguments"])
    seconds, processor_seconds, peak = watch.seconds, processor_time() - processor_before, peak_memory_with_children()
    sample = {
        "values": asdict(values) if is_dataclass(values) else values,
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "peak_bytes": peak,
        "machine": machine(),
        "commit": revision(),
    }
    outcome.write_text(json.dumps(sample), encoding="utf-8")


def machine() -> dict[str, Any]:
    """Describe this machine, with the versions of the peers that are installed."""
    from ftkit.experiments.machine import Machine

    facts = asdict(Machine.this())
    for library in PEERS:
        try:
            facts["versions"][library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return facts


if __name__ == "__main__":
    main()
