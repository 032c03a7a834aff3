from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from filelock import FileLock

import ftkit.training.cache as cache_module
from ftkit.classifier import Classifier
from ftkit.training.activations import Activations, Allocate
from ftkit.training.cache import ActivationCache, activation_key, weights_digests

ROW = 4 * 8  # bytes of a row of eight float32


def activations(allocate: Allocate, value: float = 1.0, rows: int = 10) -> Activations:
    values = allocate((rows, 8), torch.float32)
    values[:] = value
    mask = torch.ones(rows, dtype=torch.bool)
    return Activations(values, np.array([0, 4, rows]), mask, None, np.array([4, rows - 4]), depth=2, is_pooled=False)


def never(allocate: Allocate) -> Activations:
    raise AssertionError("computed again")


@pytest.mark.parametrize("memory", [0, 1 << 20])
def test_what_was_computed_once_is_found_again(memory: int, tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=memory)
    made = cache.activations("a", "ten rows", activations)
    found = cache.activations("a", "ten rows", never)
    assert made is not None
    assert found is not None
    assert torch.equal(found.values, torch.ones(10, 8))
    assert (found.depth, found.is_pooled, found.lengths.tolist()) == (2, False, [4, 6])
    assert found.attends is not None
    assert found.pools is None


def test_two_that_want_the_last_room_do_not_both_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reserve, taken = cache_module._reserve, []

    def slowly(path: Path, nbytes: int) -> None:
        time.sleep(0.2)
        reserve(path, nbytes)
        taken.append(sum(file.stat().st_size for file in tmp_path.rglob("values.bin")))

    monkeypatch.setattr(cache_module, "_reserve", slowly)
    caches = [ActivationCache(tmp_path, memory_bytes=0, disk_bytes=1500 * ROW) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        made = pool.map(
            lambda key, cache: cache.activations(key, key, lambda allocate: activations(allocate, rows=1000)),
            "ab",
            caches,
        )
    assert any(each is not None for each in made)
    assert max(taken) < 1500 * ROW


def test_what_fits_memory_stays_off_the_disk(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=1 << 20)
    cache.activations("a", "ten rows", activations)
    assert cache.entries() == []


def test_where_no_file_can_be_written_memory_still_keeps_what_fits(tmp_path: Path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "activations"
    cache = ActivationCache(folder, memory_bytes=1 << 20)
    assert cache.activations("a", "ten rows", activations) is not None
    assert cache.activations("a", "ten rows", never) is not None
    assert ActivationCache(folder, memory_bytes=0).activations("a", "ten rows", activations) is None


@pytest.mark.parametrize("fails", ["no room", "no file", "no mapping"])
def test_where_a_large_set_finds_no_place_on_disk_memory_keeps_what_fits(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full") if fails == "no file" else RuntimeError("unable to mmap")

    monkeypatch.setattr(cache_module, "LARGEST_IN_MEMORY", 9 * ROW)
    if fails != "no room":
        monkeypatch.setattr(cache_module, "_reserve" if fails == "no file" else "_mapped", refuse)
    cache = ActivationCache(tmp_path, memory_bytes=10 * ROW, disk_bytes=0 if fails == "no room" else 1 << 20)
    assert cache.activations("a", "ten rows", activations) is not None
    assert cache.activations("a", "ten rows", never) is not None
    assert cache.activations("b", "eleven rows", lambda allocate: activations(allocate, rows=11)) is None
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_folder_may_be_named_by_a_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ActivationCache("~/kept").folder == tmp_path / "kept"  # type: ignore[arg-type]


def test_examples_count_from_the_end_too(tmp_path: Path):
    made = ActivationCache(tmp_path).activations("a", "ten rows", activations)
    assert made is not None
    assert made[-1].length == made[1].length == 6
    with pytest.raises(IndexError):
        made[2]


def test_a_large_set_is_a_file_though_memory_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = ActivationCache(tmp_path, memory_bytes=1 << 20)
    monkeypatch.setattr(cache_module, "LARGEST_IN_MEMORY", 10 * ROW)
    for rows in (10, 11):
        assert cache.activations(str(rows), str(rows), lambda allocate, rows=rows: activations(allocate, rows=rows))
    assert [each.key for each in cache.entries()] == ["11"]


def test_what_memory_keeps_can_be_forgotten_and_what_the_disk_keeps_stays(tmp_path: Path):
    in_memory, on_disk = ActivationCache(tmp_path, memory_bytes=1 << 20), ActivationCache(tmp_path, memory_bytes=0)
    in_memory.activations("a", "ten rows", activations)
    on_disk.activations("b", "ten rows", activations)
    for cache in (in_memory, on_disk):
        cache.forget()
    with pytest.raises(AssertionError, match="computed again"):
        in_memory.activations("a", "ten rows", never)
    assert on_disk.activations("b", "ten rows", never) is not None


def test_what_is_on_disk_serves_other_processes_too(tmp_path: Path):
    ActivationCache(tmp_path, memory_bytes=0).activations("a", "ten rows", activations)
    found = ActivationCache(tmp_path, memory_bytes=0).activations("a", "ten rows", never)
    assert found is not None
    found.values[:] = 7.0  # a private view: the file stays as it is
    again = ActivationCache(tmp_path, memory_bytes=0).activations("a", "ten rows", never)
    assert again is not None
    assert float(again.values.max()) == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_format_is_kept(dtype: torch.dtype, tmp_path: Path):
    def build(allocate: Allocate) -> Activations:
        values = allocate((3, 5), dtype)
        values[:] = torch.arange(15).view(3, 5).to(dtype)
        return Activations(values, np.arange(4), None, None, np.ones(3, dtype=int), depth=3, is_pooled=True)

    cache = ActivationCache(tmp_path, memory_bytes=0)
    cache.activations("a", "", build)
    found = cache.activations("a", "", never)
    assert found is not None
    assert found.values.dtype == dtype
    assert torch.equal(found.values, torch.arange(15).view(3, 5).to(dtype))


def test_the_least_recently_used_goes_first_in_memory(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=25 * ROW, disk_bytes=0)
    for key in "ab":
        cache.activations(key, key, activations)
    cache.activations("a", "a", never)
    cache.activations("c", "c", activations)
    assert [cache.remembered(key) is not None for key in "abc"] == [True, False, True]


def test_the_least_recently_used_goes_first_on_disk(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=0, disk_bytes=100_000)
    rows = 1_200  # 38 kB each: two fit, three do not
    for age, key in ((100, "a"), (200, "b")):
        cache.activations(key, key, lambda allocate: activations(allocate, rows=rows))
        os.utime(tmp_path / key / "index.npz", (age, age))
    cache.activations("a", "a", never)
    cache.activations("c", "c", lambda allocate: activations(allocate, rows=rows))
    assert {entry.key for entry in cache.entries()} == {"a", "c"}
    assert sum(entry.nbytes for entry in cache.entries()) <= 100_000


def test_what_fits_nowhere_is_not_kept(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=ROW, disk_bytes=ROW)
    assert cache.activations("a", "ten rows", activations) is None
    assert cache.entries() == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, nbytes: int) -> None:
        path.write_bytes(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "_reserve", full)
    cache = ActivationCache(tmp_path, memory_bytes=0)
    assert cache.activations("a", "ten rows", activations) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock", "room.lock"]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path):
    def interrupted(allocate: Allocate) -> Activations:
        allocate((10, 8), torch.float32)
        raise KeyboardInterrupt

    cache = ActivationCache(tmp_path, memory_bytes=0)
    with pytest.raises(KeyboardInterrupt):
        cache.activations("a", "ten rows", interrupted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock", "room.lock"]


def test_what_another_process_is_writing_counts(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=0, disk_bytes=15 * ROW)
    part = tmp_path / ".b-0123abcd.part"
    part.mkdir()
    (part / "values.bin").write_bytes(bytes(10 * ROW))
    with FileLock(tmp_path / "b.lock"):
        assert cache.activations("a", "ten rows", activations) is None
    assert part.exists()


@pytest.mark.parametrize("key", ["a", "b"])
def test_what_a_killed_process_left_behind_is_cleared_away(key: str, tmp_path: Path):
    """It would lie there unseen by the budget otherwise."""
    cache = ActivationCache(tmp_path, memory_bytes=0)
    left = tmp_path / f".{key}-0123abcd.part"
    left.mkdir()
    (left / "values.bin").write_bytes(b"begun")
    assert cache.activations("a", "ten rows", activations) is not None
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["a"]
    left.mkdir()
    (left / "values.bin").write_bytes(b"begun")
    assert cache.clear() > len(b"begun")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_room_is_made_before_more_is_written(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=0, disk_bytes=100_000)
    for key in ("a", "b", "c"):

        def build(allocate: Allocate) -> Activations:
            made = activations(allocate, rows=1_200)
            assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 100_000
            return made

        assert cache.activations(key, key, build) is not None


def test_clearing_leaves_alone_what_a_process_is_just_computing(tmp_path: Path):
    mine, other = (ActivationCache(tmp_path, memory_bytes=0) for _ in range(2))

    def build(allocate: Allocate) -> Activations:
        made = activations(allocate, value=3.0)
        other.clear()
        return made

    found = mine.activations("a", "ten rows", build)
    assert found is not None
    assert bool((found.values == 3.0).all())
    assert other.activations("a", "ten rows", never) is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "index.npz").write_bytes(b"not an index"),
        lambda folder: (folder / "values.bin").write_bytes(b"short"),
        lambda folder: (folder / "values.bin").unlink(),
    ],
    ids=["index", "short values", "no values"],
)
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: Callable[[Path], object]):
    cache = ActivationCache(tmp_path, memory_bytes=0)
    cache.activations("a", "ten rows", activations)
    damage(tmp_path / "a")
    found = cache.activations("a", "ten rows", lambda allocate: activations(allocate, value=2.0))
    assert found is not None
    assert float(found.values.max()) == 2.0


def test_what_no_process_can_read_goes_first(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=0, disk_bytes=25 * ROW + 20_000)
    cache.activations("a", "ten rows", activations)
    (tmp_path / "a" / "index.npz").write_bytes(b"not an index")
    with FileLock(tmp_path / "a.lock"):  # it is being made again
        cache.activations("b", "ten rows", activations)
        assert (tmp_path / "a").exists()
    cache.activations("c", "ten rows", activations)
    assert not (tmp_path / "a").exists()
    assert {entry.key for entry in cache.entries()} == {"b", "c"}


def test_what_cannot_be_removed_is_not_told_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "someone else's")

    cache = ActivationCache(tmp_path, memory_bytes=0)
    cache.activations("a", "ten rows", activations)
    monkeypatch.setattr(cache_module.shutil, "rmtree", refuse)
    assert cache.clear() == 0
    assert [entry.key for entry in cache.entries()] == ["a"]


def test_what_is_just_being_finished_is_no_entry_yet(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=0)
    cache.activations("a", "ten rows", activations)
    with FileLock(tmp_path / "b.lock"):
        shutil.copytree(tmp_path / "a", tmp_path / ".b-0123abcd.part")
        assert [entry.key for entry in cache.entries()] == ["a"]


def test_clearing_gives_the_disk_back(tmp_path: Path):
    cache = ActivationCache(tmp_path, memory_bytes=0)
    cache.activations("a", "ten rows", activations)
    (entry,) = cache.entries()
    assert entry.label == "ten rows"
    assert cache.clear() == entry.nbytes > 10 * ROW
    left = sorted((path.name, path.stat().st_size) for path in tmp_path.iterdir())
    assert left == [("a.lock", 0), ("room.lock", 0)]


def _compute(folder: Path, log: Path) -> None:
    def build(allocate: Allocate) -> Activations:
        with log.open("a") as file:
            file.write("computed\n")
        return activations(allocate)

    assert ActivationCache(folder, memory_bytes=0).activations("a", "ten rows", build) is not None


def test_two_processes_compute_once(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    workers = [context.Process(target=_compute, args=(tmp_path / "cache", log)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert log.read_text() == "computed\n"


def test_the_key_follows_the_contents(new_classifier: Callable[[str], Classifier]):
    def key(classifier: Classifier, depth: int = 2, data: str = "data", precision: str = "float32") -> str:
        weights = weights_digests(classifier, depth)[depth]
        return activation_key(classifier.backbone, weights, depth, data, precision=precision, device="cpu")

    one, same = new_classifier("text"), new_classifier("text")
    assert key(one) == key(same)
    assert len({key(one), key(one, depth=3), key(one, data="other"), key(one, precision="bf16")}) == 4
    with torch.no_grad():
        next(iter(same.backbone.blocks[5].parameters())).add_(1)
    assert key(one) == key(same)  # a change above the activations
    with torch.no_grad():
        next(iter(same.backbone.blocks[0].parameters())).add_(1)
    assert key(one) != key(same)


def test_the_key_follows_the_preparation_and_the_processor(
    new_classifier: Callable[[str], Classifier], monkeypatch: pytest.MonkeyPatch
):
    backbone = new_classifier("text").backbone

    def key(device: str = "cpu") -> str:
        return activation_key(backbone, "weights", 2, "data", precision="float32", device=device)

    keys = [key(), key("cuda")]
    backbone.max_tokens //= 2
    keys.append(key())
    monkeypatch.setattr("ftkit.training.cache.processor_name", lambda: "another")
    assert len({*keys, key()}) == 4


def test_a_disk_that_is_full_at_the_end_costs_the_cache_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ftkit.training.cache._write_index", full)
    assert ActivationCache(tmp_path, memory_bytes=0).activations("a", "ten rows", activations) is None
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems decide themselves what of a file stays in memory")
def test_what_is_read_from_disk_does_not_stay_in_this_process(tmp_path: Path):
    rows, width = 2_000, 8_192
    cache = ActivationCache(tmp_path, memory_bytes=0)

    def build(allocate: Allocate) -> Activations:
        values = allocate((rows, width), torch.float32)
        values[:] = torch.arange(rows)[:, None]
        return Activations(values, np.arange(rows + 1), None, None, np.ones(rows, dtype=int), depth=3, is_pooled=True)

    found = cache.activations("a", "64 MB", build)
    assert found is not None
    before = _mapped_memory()
    for start in range(0, rows, 100):
        batch = found.collate(found[start : start + 100])
        assert torch.equal(batch[:, -1], torch.arange(start, start + 100, dtype=torch.float32))
        assert _mapped_memory() - before < found.nbytes / 16


def _mapped_memory() -> int:
    """Bytes of files that this process holds: where the allocator puts the batches themselves is its own affair."""
    return int(psutil.Process().memory_info().shared)
