from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ftkit.memory import memory_limit

PROGRAM = """
import psutil, torch
from ftkit.memory import release_memory, reuse_freed_memory

def resident():
    return psutil.Process().memory_info().rss / 2**20

if {keep}:
    reuse_freed_memory()
before = resident()
block = torch.ones(64, 2**18)  # 64 MiB
assert resident() > before + 60
del block
print(resident() - before)
release_memory()
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' allocators are left as they are")
@pytest.mark.parametrize("keep", [True, False])
def test_a_large_block_that_was_freed_stays_for_reuse_until_memory_is_released(keep: bool):
    program = PROGRAM.format(keep=keep)
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    freed, released = (float(line) for line in printed.split())
    assert (freed > 60) is keep
    assert released < 10


def test_what_is_there_at_the_start_costs_later_collections_nothing_and_garbage_made_since_still_goes():
    program = """
import gc, sys, types, weakref
from ftkit.memory import MODULES_A_TIME, clean_start

class Node: pass

def leave_garbage():
    node = Node()
    node.itself = node
    return weakref.ref(node)

clean_start()
assert len(gc.get_objects()) < gc.get_freeze_count() / 2
gone = leave_garbage()
clean_start()
assert gone() is None

spared = gc.get_freeze_count()
loaded = [[] for _ in range(spared)]
gone = leave_garbage()
clean_start()
assert len(gc.get_objects()) > spared  # nothing was imported
assert gone() is None
sys.modules.update({f"made-up-{number}": types.ModuleType("made up") for number in range(MODULES_A_TIME)})
gone = leave_garbage()
clean_start()
assert gone() is None
assert len(gc.get_objects()) < gc.get_freeze_count() / 4
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "4000", "memory.current": "3700", "memory.stat": "anon 1\ninactive_file 200"}, (4000, 500)),
        ({"memory.max": "max", "memory.current": "3700"}, None),
        ({"memory/memory.limit_in_bytes": "4000", "memory/memory.usage_in_bytes": "4100"}, (4000, 0)),
        (
            {
                **{"memory.max": "9000", "memory.current": "1000"},
                **{"jobs/memory.max": "max", "jobs/one/memory.max": "5000", "jobs/one/memory.current": "2000"},
            },
            (5000, 3000),
        ),
        ({}, None),
    ],
)
def test_of_several_limits_the_one_with_the_least_left_counts(
    files: dict[str, str], limit: tuple[int, int] | None, tmp_path: Path
):
    for name, text in {**files, "own": "0::/jobs/one\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    found = memory_limit(tmp_path, own=tmp_path / "own")
    assert (found and (found.granted, found.left)) == limit
