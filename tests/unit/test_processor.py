from __future__ import annotations

from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from ftkit import processor
from ftkit.processor import container_limit, libraries_limited, limit_threads, processor_name, usable_cores


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"jobs/one/cpu.max": "max 100000\n", "jobs/cpu.max": "300000 100000\n", "two/cpu.max": "1 100\n"}, 3.0),
        ({"jobs/one/cpu.max": "50000 100000\n", "jobs/cpu.max": "300000 100000\n"}, 0.5),
        ({"cpu/jobs/cpu.cfs_quota_us": "200000\n", "cpu/jobs/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({}, None),
    ],
)
def test_the_limit_of_a_process_is_the_lowest_of_its_groups(files: dict[str, str], limit: float | None, tmp_path: Path):
    for name, text in {**files, "own": "4:cpu,cpuacct:/jobs\n0::/jobs/one\n"}.items():
        write(tmp_path / name, text)
    assert container_limit(tmp_path, own=tmp_path / "own") == limit
    if not any("jobs" in name for name in files):
        assert container_limit(tmp_path, own=tmp_path / "missing") == limit


@pytest.mark.parametrize(("limit", "cores"), [(0.5, 1), (1.0, 1), (1.9, 1), (10_000.0, None), (None, None)])
def test_no_more_cores_are_used_than_a_container_allows(
    limit: float | None, cores: int | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(processor, "container_limit", lambda: None)
    unlimited = usable_cores()
    monkeypatch.setattr(processor, "container_limit", lambda: limit)
    assert usable_cores() == (unlimited if cores is None else cores)


def test_threads_are_cut_to_the_cores_and_never_raised(monkeypatch: pytest.MonkeyPatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        monkeypatch.setattr(processor, "usable_cores", lambda: 2)
        assert limit_threads() == torch.get_num_threads() == 1
        torch.set_num_threads(4)
        assert limit_threads() == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_of_other_libraries_are_cut_inside_the_block_and_never_raised(monkeypatch: pytest.MonkeyPatch):
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info()}

    monkeypatch.setattr(processor, "usable_cores", lambda: 2)
    with threadpool_limits(4):
        with libraries_limited():
            assert threads() == {2}
        assert threads() == {4}
    with threadpool_limits(1), libraries_limited():
        assert threads() == {1}


def test_the_processor_has_a_name():
    assert processor_name()
