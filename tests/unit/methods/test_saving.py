"""What is written of a trained model, and that it comes back in a process of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ftkit import load_run
from ftkit.classifier import Classifier
from ftkit.errors import FtkitError
from ftkit.methods import METHODS, LinearProbe, Method, Trainable, as_method
from ftkit.methods.folded import FoldedConvolution

MODALITIES = ("text", "image", "audio")
CELLS = [(name, modality) for name, method in METHODS.items() for modality in method.modalities]
IDS = [f"{method}-{modality}" for method, modality in CELLS]

BY_PEFT = ("lora", "dora", "ia3", "adapter", "prompt", "prefix")
SMALL = ("linear-probe", "bitfit", "norm-tuning", *BY_PEFT)

FRESH_PROCESS = """
import pickle, sys
import numpy, torch
from ftkit import load_run

torch.set_num_threads(int(sys.argv[3]))
folders, items = pickle.load(open(sys.argv[1], "rb"))
logits = {}
for name, folder in folders.items():
    model = load_run(folder).model
    backbone = model.classifier.backbone
    with torch.inference_mode():
        logits[name] = model.model(backbone.collate(backbone.prepare(items[backbone.modality]))).numpy()
numpy.savez(sys.argv[2], **logits)
"""


@pytest.fixture(scope="module")
def reopened(
    all_cells: dict[tuple[str, str], Any], tiny_task: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """Logits of all saved runs, opened and asked in another process."""
    folder = tmp_path_factory.mktemp("fresh-process")
    folders = {f"{method}-{modality}": str(found.folder) for (method, modality), found in all_cells.items()}
    items = {modality: tiny_task(modality).test.items for modality in MODALITIES}
    (folder / "asked.pickle").write_bytes(pickle.dumps((folders, items)))
    arguments = [str(folder / "asked.pickle"), str(folder / "logits.npz"), str(torch.get_num_threads())]
    subprocess.run([sys.executable, "-c", FRESH_PROCESS, *arguments], check=True, timeout=300)
    return dict(np.load(folder / "logits.npz"))


@pytest.mark.parametrize(("method", "modality"), CELLS, ids=IDS)
def test_a_saved_run_gives_the_same_logits_in_another_process(
    method: str, modality: str, reopened: dict[str, np.ndarray], cell: Callable[..., Any]
):
    expected = cell(method, modality).logits
    assert expected.std() > 0
    np.testing.assert_allclose(reopened[f"{method}-{modality}"], expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("method", "modality"), CELLS, ids=IDS)
def test_the_stated_size_is_that_of_the_file(method: str, modality: str, cell: Callable[..., Any]):
    found = cell(method, modality)
    assert found.run.cost.saved_bytes == pytest.approx(found.saved_bytes, rel=0.1)


@pytest.mark.parametrize(
    ("method", "modality"), [cell for cell in CELLS if cell[0] in SMALL], ids=lambda value: str(value)
)
def test_only_what_was_trained_is_saved(method: str, modality: str, cell: Callable[..., Any]):
    share = 16 if modality == "image" else 20  # the picture network is small itself
    assert cell(method, modality).saved_bytes < cell("full", modality).saved_bytes / share


@pytest.mark.parametrize(
    ("method", "modality"), [cell for cell in CELLS if cell[0] in BY_PEFT], ids=lambda value: str(value)
)
def test_peft_itself_reads_the_folder(
    method: str,
    modality: str,
    cell: Callable[..., Any],
    new_classifier: Callable[[str], Classifier],
    applied: Callable[[Method, str], Trainable],
    logits_of: Callable[..., torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
):
    found = cell(method, modality)
    model = PeftModel.from_pretrained(new_classifier(modality), str(found.folder))
    logits = logits_of(model, modality)
    if modality == "image":  # where peft adds LoRA's product beside the weight, not inside it: another order of sums
        torch.testing.assert_close(logits, torch.from_numpy(found.logits), atol=1e-5, rtol=1e-5)
        monkeypatch.setattr(FoldedConvolution, "whole_weight", lambda self: None)
        ours = applied(as_method(method), modality)
        ours.load(found.folder)
        torch.testing.assert_close(logits, logits_of(ours.model.eval(), modality), atol=1e-6, rtol=1e-6)
    else:
        torch.testing.assert_close(logits, torch.from_numpy(found.logits), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "scratch"])
def test_a_model_for_other_classes_is_refused(
    method: str, cell: Callable[..., Any], applied: Callable[[Method, str], Trainable]
):
    with pytest.raises(FtkitError, match="do not fit this model"):
        applied(as_method(method), "text").load(cell(method, "audio").folder)


@pytest.mark.parametrize("method", ["linear-probe", "lora"])
def test_a_file_without_the_head_is_refused(
    method: str, cell: Callable[..., Any], applied: Callable[[Method, str], Trainable], tmp_path: Path
):
    for path in cell(method, "text").folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = next(tmp_path.glob("*.safetensors"))
    save_file({name: tensor for name, tensor in load_file(path).items() if "head.bias" not in name}, path)
    with pytest.raises(FtkitError, match=r"lacks .*head\.bias"):
        applied(as_method(method), "text").load(tmp_path)


@pytest.mark.parametrize("method", ["linear-probe", "lora"])
def test_missing_weights_are_said_to_be_missing(method: str, cell: Callable[..., Any], tmp_path: Path):
    (tmp_path / "run.json").write_bytes((cell(method, "text").folder / "run.json").read_bytes())
    run = load_run(tmp_path)
    with pytest.raises(FtkitError, match=r"\.safetensors"):
        _ = run.model


@pytest.mark.parametrize("method", ["linear-probe", "lora"])
def test_truncated_weights_are_refused(method: str, cell: Callable[..., Any], tmp_path: Path):
    for path in cell(method, "text").folder.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:-100] if path.suffix == ".safetensors" else content)
    run = load_run(tmp_path)
    with pytest.raises(FtkitError, match=r"\.safetensors"):
        _ = run.model


@pytest.mark.parametrize("method", ["linear-probe", "lora"])
def test_a_full_disk_is_named(
    method: str, applied: Callable[[Method, str], Trainable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("ftkit.methods.base.save_file", full)
    monkeypatch.setattr("peft.peft_model.safe_save_file", full)
    trainable = applied(as_method(method), "text")
    with pytest.raises(FtkitError, match=r"can't be written to .*No space left on device.*Free some space"):
        trainable.save(tmp_path / "run")


def test_trained_tensors_can_be_put_back(applied: Callable[[Method, str], Trainable]):
    trainable = applied(LinearProbe(), "audio")
    kept = trainable.trained_state()
    with torch.no_grad():
        trainable.head.weight.add_(1)
    changed = trainable.trained_state()
    assert not torch.equal(changed["head.weight"], kept["head.weight"])
    trainable.load_trained_state(kept)
    assert torch.equal(trainable.head.weight, kept["head.weight"])
