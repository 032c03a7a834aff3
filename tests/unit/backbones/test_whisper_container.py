from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from ftkit.backbones.whisper_container import load_whisper, read_container
from ftkit.errors import AssetError
from ftkit.fetch import fetch


@pytest.fixture(scope="module")
def content() -> bytes:
    return (fetch("whisper-tiny-en") / "model.bin").read_bytes()


@pytest.fixture
def container(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def test_the_container_is_read_to_its_last_byte():
    container = read_container(fetch("whisper-tiny-en") / "model.bin")
    weights = sum(values.size for values in container.variables.values() if values.dtype == np.float16)
    assert 37_000_000 < weights < 38_500_000
    assert [name for name, _ in container.aliases] == ["decoder/projection/weight"]


@pytest.mark.parametrize("kept", [0, 3, 10, 40, 100_000, -1])
def test_a_truncated_container_is_refused(content: bytes, container: Path, kept: int):
    container.write_bytes(content[:kept])
    with pytest.raises(AssetError, match="ends too early"):
        read_container(container)


def test_a_container_with_something_after_its_end_is_refused(content: bytes, container: Path):
    container.write_bytes(content + b"x")
    with pytest.raises(AssetError, match="holds more"):
        read_container(container)


def test_a_container_of_another_version_is_refused(content: bytes, container: Path):
    container.write_bytes(b"\x07" + content[1:])
    with pytest.raises(AssetError, match="version 7"):
        read_container(container)


def test_a_container_of_another_model_is_refused(content: bytes, container: Path):
    container.write_bytes(content.replace(b"WhisperSpec", b"WhisperSpoc", 1))
    with pytest.raises(AssetError, match="WhisperSpoc"):
        read_container(container)


def test_a_damaged_table_of_contents_is_refused(content: bytes, container: Path):
    start = content.index(b"/", 24)
    damaged = bytearray(content)
    damaged[start : start + 64] = b"\xff" * 64
    container.write_bytes(damaged)
    with pytest.raises(AssetError, match=r"damaged|too early"):
        read_container(container)


def test_a_container_that_lacks_a_weight_is_refused(content: bytes, container: Path):
    container.write_bytes(content.replace(b"encoder/conv1/bias", b"encoder/conv9/bias", 1))
    with pytest.raises(AssetError, match=r"conv1\.bias"):
        load_whisper(container)


def test_a_weight_of_another_shape_is_refused(content: bytes, container: Path):
    name = b"encoder/conv1/weight\x00\x03"
    dimensions = [struct.pack("<3I", *shape) for shape in ((384, 80, 3), (384, 3, 80))]
    assert name + dimensions[0] in content
    container.write_bytes(content.replace(name + dimensions[0], name + dimensions[1], 1))
    with pytest.raises(AssetError, match=r"size mismatch for model\.encoder\.conv1\.weight"):
        load_whisper(container)


def test_an_unknown_kind_of_number_is_refused(content: bytes, container: Path):
    header = b"encoder/conv1/weight\x00\x03" + struct.pack("<3I", 384, 80, 3)
    container.write_bytes(content.replace(header + b"\x04", header + b"\x09", 1))
    with pytest.raises(AssetError, match=r"model\.bin is damaged \(9\)"):
        read_container(container)
