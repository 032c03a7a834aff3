"""Each method, on each kind of data, trains what it says and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from ftkit.errors import FtkitError
from ftkit.methods import (
    METHODS,
    Adapter,
    DoRA,
    Full,
    LinearProbe,
    LoRA,
    Method,
    Partial,
    Prompt,
    Surgical,
    Trainable,
    as_method,
)

MODALITIES = ("text", "image", "audio")
CELLS = [(name, modality) for name, method in METHODS.items() for modality in method.modalities]
IDS = [f"{method}-{modality}" for method, modality in CELLS]

# What changes in training, as regular expressions over the names of parameters and buffers.
HEAD = r"head\.(weight|bias)"
HEAD_BESIDE = r".*head\.modules_to_save\.default\.(weight|bias)"  # peft keeps the untrained head beside it
FIXED_POSITIONS = r"(?!.*position_embeddings$).*"  # Whisper's sinusoids are no weights
WHOLE = ("full", "gradual", "discriminative", "lp-ft", "l2-sp", "replay")
CHANGES = {
    ("scratch", "text"): ".*",
    ("scratch", "image"): ".*",
    ("scratch", "audio"): FIXED_POSITIONS,
    ("linear-probe", "text"): HEAD,
    ("linear-probe", "image"): HEAD,
    ("linear-probe", "audio"): HEAD,
    ("partial", "text"): rf"{HEAD}|backbone\.blocks\.[45]\..*",
    ("partial", "image"): rf"{HEAD}|backbone\.blocks\.[567]\..*",
    ("partial", "audio"): rf"{HEAD}|backbone\.(blocks\.[23]\..*|norm\..*)",
    ("surgical", "text"): rf"{HEAD}|backbone\.blocks\.[01]\..*",
    ("surgical", "image"): rf"{HEAD}|backbone\.blocks\.[012]\..*",
    ("surgical", "audio"): rf"{HEAD}|backbone\.blocks\.[01]\..*",
    **{("bitfit", modality): rf"{HEAD}|backbone\..*\.bias" for modality in MODALITIES},
    ("norm-tuning", "text"): rf"{HEAD}|.*LayerNorm\.(weight|bias)",
    ("norm-tuning", "image"): rf"{HEAD}|.*\.(bn\d|norm)\.(weight|bias)",
    ("norm-tuning", "audio"): rf"{HEAD}|.*(layer_norm|backbone\.norm)\.(weight|bias)",
    **{
        (method, modality): FIXED_POSITIONS if modality == "audio" else ".*"
        for method in WHOLE
        for modality in MODALITIES
    },
    ("lp-ft", "image"): ".*(?<!running_mean)(?<!running_var)(?<!num_batches_tracked)",
    **{
        ("dora", modality): rf"{HEAD_BESIDE}|.*\.lora_([AB]|magnitude_vector)\.default\.weight"
        for modality in MODALITIES
    },
    **{("ia3", modality): rf"{HEAD_BESIDE}|.*\.ia3_l\.default" for modality in MODALITIES},
    **{
        ("prefix", modality): rf"{HEAD_BESIDE}|.*\.attention_prefix_(keys|values)\.default"
        for modality in ("text", "audio")
    },
    ("lora", "text"): rf"{HEAD_BESIDE}|.*self\.(query|value)\.lora_[AB]\.default\.weight",
    ("lora", "image"): rf"{HEAD_BESIDE}|.*(conv_pw|conv_pwl|convolution)\.lora_[AB]\.default\.weight",
    ("lora", "audio"): rf"{HEAD_BESIDE}|.*self_attn\.(q_proj|v_proj)\.lora_[AB]\.default\.weight",
    **{
        ("adapter", modality): rf"{HEAD_BESIDE}|.*\.bottleneck_(down|up)\.default\.(weight|bias)"
        for modality in MODALITIES
    },
    **{("prompt", modality): rf"{HEAD_BESIDE}|.*\.input_prompt_values\.default" for modality in MODALITIES},
}

# The architectures, by hand.
WIDTH, FEED_FORWARD = 384, 1536
LAYERS = {"text": 6, "audio": 4}
# EfficientNet-Lite0 (Tan and Le 2019; no squeeze-and-excitation): expansion, channels, repeats, kernel of each stage.
STAGES = ((1, 16, 1, 3), (6, 24, 2, 3), (6, 40, 2, 5), (6, 80, 3, 3), (6, 112, 3, 5), (6, 192, 4, 5), (6, 320, 1, 3))
STEM, LAST = 32, 1280
SIZE = 128
CLASSES = {"text": 2, "image": 2, "audio": 10}


def linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + outputs * bias


def transformer_layer(modality: str) -> int:
    attention = 3 * linear(WIDTH, WIDTH) + linear(WIDTH, WIDTH, bias=modality == "text")  # Whisper's keys have no bias
    return attention + linear(WIDTH, FEED_FORWARD) + linear(FEED_FORWARD, WIDTH) + 2 * 2 * WIDTH


def residuals() -> list[list[tuple[int, int, int, int]]]:
    """Return (inputs, middle, outputs, kernel) of every inverted residual, a list a stage."""
    stages, inputs = [], STEM
    for expansion, channels, repeats, kernel in STAGES:
        stage = []
        for _ in range(repeats):
            stage.append((inputs, inputs * expansion, channels, kernel))
            inputs = channels
        stages.append(stage)
    return stages


def residual(inputs: int, middle: int, outputs: int, kernel: int) -> int:
    expand = inputs * middle + 2 * middle if middle != inputs else 0
    return expand + kernel**2 * middle + 2 * middle + middle * outputs + 2 * outputs


def image_blocks() -> list[int]:
    return [sum(residual(*shape) for shape in stage) for stage in residuals()] + [320 * LAST + 2 * LAST]


def pointwise_convolutions() -> list[tuple[int, int]]:
    shapes = [(320, LAST)]
    for stage in residuals():
        for inputs, middle, outputs, _ in stage:
            shapes += [(inputs, middle)] * (middle != inputs) + [(middle, outputs)]
    return shapes


def batch_norms() -> list[int]:
    """Return the channels of every batch normalisation."""
    inner = [
        channels
        for stage in residuals()
        for inputs, middle, outputs, _ in stage
        for channels in ([middle] * (1 + (middle != inputs)) + [outputs])
    ]
    return [STEM, *inner, LAST]


def biases(modality: str) -> int:
    """Count the biases of a transformer: maps, convolutions, norms."""
    attention = (4 if modality == "text" else 3) * WIDTH  # Whisper's keys have none
    layers = LAYERS[modality] * (attention + FEED_FORWARD + WIDTH + 2 * WIDTH)
    return layers + WIDTH + (2 * WIDTH if modality == "audio" else 0)


def head(modality: str) -> int:
    return linear(LAST if modality == "image" else WIDTH, CLASSES[modality])


def whole(modality: str) -> int:
    if modality == "image":
        return 27 * STEM + 2 * STEM + sum(image_blocks())
    layers = LAYERS[modality] * transformer_layer(modality)
    if modality == "text":
        return (30_522 + 512 + 2) * WIDTH + 2 * WIDTH + layers
    return linear(80 * 3, WIDTH) + linear(WIDTH * 3, WIDTH) + layers + 2 * WIDTH


def bottleneck(width: int, size: int) -> int:
    return linear(width, size) + linear(size, width)


def trained_by_hand(method: str, modality: str) -> int:
    """Count what trains apart from the head."""
    image = modality == "image"
    if method == "linear-probe":
        return 0
    if method in ("scratch", *WHOLE):
        return whole(modality)
    if method == "surgical":
        return sum(image_blocks()[:3]) if image else 2 * transformer_layer(modality)
    if method == "bitfit":
        return sum(batch_norms()) if image else biases(modality)
    if method == "norm-tuning":
        return 2 * sum(batch_norms()) if image else 2 * WIDTH * (2 * LAYERS[modality] + 1)
    if method == "ia3":
        inner = sum(shape[1] for stage in residuals() for shape in stage)
        return inner if image else LAYERS[modality] * (2 * WIDTH + FEED_FORWARD)
    if method == "prefix":
        return LAYERS[modality] * 2 * 16 * WIDTH
    if method == "partial":
        return (
            sum(image_blocks()[-3:]) if image else 2 * transformer_layer(modality) + 2 * WIDTH * (modality == "audio")
        )
    if method in ("lora", "dora"):
        shapes = pointwise_convolutions() if image else [(WIDTH, WIDTH)] * 2 * LAYERS[modality]
        lengths = sum(outputs for _, outputs in shapes) if method == "dora" else 0
        return sum(8 * (inputs + outputs) for inputs, outputs in shapes) + lengths
    if method == "adapter":
        widths = [shape[2] for stage in residuals() for shape in stage] if image else [WIDTH] * 2 * LAYERS[modality]
        return sum(bottleneck(width, 16) for width in widths)
    return 3 * (SIZE**2 - (SIZE - 2 * 16) ** 2) if image else 16 * WIDTH


@pytest.mark.parametrize(("method", "modality"), CELLS, ids=IDS)
def test_training_changes_exactly_what_the_method_trains(cell: Callable[..., Any], method: str, modality: str):
    found = cell(method, modality)
    expected = {name for name in found.tensors if re.fullmatch(CHANGES[method, modality], name)}
    assert len(expected) >= 2
    assert found.changed == expected


@pytest.mark.parametrize(("method", "modality"), CELLS, ids=IDS)
def test_counts_are_those_of_the_shapes(cell: Callable[..., Any], method: str, modality: str):
    cost = cell(method, modality).run.cost
    beside = ("lora", "dora", "ia3", "adapter", "prompt", "prefix")
    added = trained_by_hand(method, modality) if method in beside else 0
    assert cost.head == head(modality)
    assert cost.trainable - cost.head == trained_by_hand(method, modality)
    assert cost.total == whole(modality) + head(modality) + added


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_adapter_after_the_feed_forward_part_only_is_half_as_large(
    applied: Callable[[Method, str], Trainable], modality: str
):
    both, one = (applied(Adapter(placement=place), modality).count() for place in ("houlsby", "pfeiffer"))
    assert both.adapted == (1 if modality == "image" else 2) * one.adapted  # a stage has one place for both


@pytest.mark.parametrize("modality", MODALITIES)
def test_surgical_fine_tuning_of_the_top_is_partial_fine_tuning_but_for_the_norm(
    applied: Callable[[Method, str], Trainable], modality: str
):
    depth, top = {"text": (6, 2), "image": (8, 3), "audio": (4, 2)}[modality]
    surgical = applied(Surgical(first=depth - top + 1, last=depth), modality)
    partial = applied(Partial(), modality)
    assert {name for name in partial.trainable_parameters() if not name.startswith("backbone.norm.")} == set(
        surgical.trainable_parameters()
    )


@pytest.mark.parametrize("modality", MODALITIES)
def test_surgical_fine_tuning_leaves_what_lies_below_to_be_computed_once(
    applied: Callable[[Method, str], Trainable], modality: str
):
    assert applied(Surgical(first=3, last=3), modality).frozen_depth() == 2


@pytest.mark.parametrize(("first", "last"), [(3, 2), (5, 7), (7, 7)])
def test_a_range_of_blocks_that_the_model_lacks_is_named(
    applied: Callable[[Method, str], Trainable], first: int, last: int
):
    with pytest.raises(
        FtkitError, match=f"blocks {first} to {last}: minilm has 6 blocks; choose a range within 1 to 6"
    ):
        applied(Surgical(first=first, last=last), "text")


def test_what_is_tried_instead_of_a_range_of_blocks_is_a_range_too():
    assert Surgical(first=3).alternatives() == [Surgical(first=3, last=4)]
    assert Surgical().alternatives() == [Surgical(last=1), Surgical(last=4)]


@pytest.mark.parametrize("modality", MODALITIES)
def test_partial_fine_tuning_of_no_block_is_a_linear_probe(applied: Callable[[Method, str], Trainable], modality: str):
    none, probe = applied(Partial(blocks=0), modality), applied(LinearProbe(), modality)
    assert set(none.trainable_parameters()) == set(probe.trainable_parameters()) == {"head.weight", "head.bias"}
    assert len(none.active) == len(probe.active)


@pytest.mark.parametrize("modality", MODALITIES)
def test_partial_fine_tuning_of_all_blocks_leaves_the_input_frozen(
    applied: Callable[[Method, str], Trainable], modality: str
):
    depth = {"text": 6, "image": 8, "audio": 4}[modality]
    everything = set(applied(Full(), modality).trainable_parameters())
    blocks = set(applied(Partial(blocks=depth), modality).trainable_parameters())
    assert {name.split(".")[1] for name in everything - blocks} == {"embed"}


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_words_on_partial_fine_tuning_name_the_real_number_of_blocks(
    applied: Callable[[Method, str], Trainable], modality: str
):
    trainable = applied(Partial(), modality)
    trained = {name.split(".")[2] for name in trainable.trainable_parameters() if ".blocks." in name}
    top, depth = map(int, re.findall(r"\d+", Partial.changes[modality]))
    assert (len(trained), len(trainable.classifier.backbone.blocks)) == (top, depth)


def test_lora_reaches_every_pointwise_convolution_and_no_depthwise_one(applied: Callable[[Method, str], Trainable]):
    trainable = applied(LoRA(), "image")
    reached = {name.partition(".lora_A")[0] for name in trainable.trainable_parameters() if ".lora_A." in name}
    convolutions = {
        name.removesuffix(".base_layer")
        for name, module in trainable.model.named_modules()
        if type(module).__name__.startswith("Conv2d") and "lora" not in name and module.weight.shape[-1] == 1
    }
    assert reached == {name for name in convolutions if ".blocks." in name}
    assert len(reached) == len(pointwise_convolutions())


@pytest.mark.parametrize("modality", MODALITIES)
def test_settings_decide_the_size_of_what_is_added(applied: Callable[[Method, str], Trainable], modality: str):
    assert applied(LoRA(rank=4), modality).count().adapted * 2 == applied(LoRA(rank=8), modality).count().adapted
    small, large = (applied(Prompt(length=length), modality).count().adapted for length in (4, 8))
    if modality == "image":
        assert (small, large) == (3 * (128**2 - 120**2), 3 * (128**2 - 112**2))
    else:
        assert (small, large) == (4 * WIDTH, 8 * WIDTH)


def test_only_active_parts_are_in_training_mode(applied: Callable[[Method, str], Trainable]):
    trainable = applied(Partial(blocks=2), "image")
    trainable.training_mode()
    training = {name for name, module in trainable.model.named_modules() if module.training}
    assert {name for name in training if not re.match(r"backbone\.blocks\.[67]|backbone\.norm|dropout|head", name)} == (
        set()
    )
    assert "backbone.blocks.6.0.bn1" in training


@pytest.mark.parametrize("method", list(METHODS))
def test_dropout_acts_only_where_weights_train(
    applied: Callable[[Method, str], Trainable], tiny_task: Callable[..., Any], method: str
):
    trainable = applied(as_method(method), "text")
    trainable.training_mode()
    backbone = trainable.classifier.backbone
    batch = backbone.collate(backbone.prepare(tiny_task("text").train.items[:4]))
    first, second = trainable.model(batch), trainable.model(batch)
    acts = method in ("scratch", "partial", "surgical", "full", "discriminative", "lp-ft", "l2-sp", "replay")
    assert bool((first == second).all()) is not acts


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("kind", [LoRA, DoRA])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_inputs_of_an_update_are_dropped_in_training_and_nowhere_else(
    applied: Callable[[Method, str], Trainable],
    tiny_task: Callable[..., Any],
    kind: type[LoRA],
    modality: str,
    dropout: float,
):
    trainable = applied(kind(dropout=dropout), modality)
    for name, parameter in trainable.trainable_parameters().items():
        if "lora_B" in name:  # zeros at the start, of which nothing can be dropped
            nn.init.normal_(parameter, std=0.1)
    backbone = trainable.classifier.backbone
    batch = backbone.collate(backbone.prepare(tiny_task(modality).train.items[:4]))

    def is_steady() -> bool:
        return bool((trainable.model(batch) == trainable.model(batch)).all())

    trainable.training_mode()
    assert is_steady() is (dropout == 0)
    trainable.model.eval()
    assert is_steady()


def test_matrices_decay_and_norms_and_biases_do_not(applied: Callable[[Method, str], Trainable]):
    trainable = applied(Full(), "text")
    names = {id(parameter): name for name, parameter in trainable.trainable_parameters().items()}
    decaying, others = trainable.parameter_groups(weight_decay=0.05)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    expected = {name for name in names.values() if name.endswith("bias") or "LayerNorm" in name}
    assert {names[id(parameter)] for parameter in others["params"]} == expected
    assert {names[id(parameter)] for parameter in decaying["params"]} == set(names.values()) - expected


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("kind", [LoRA, Adapter])
def test_updates_in_the_top_blocks_only_leave_the_rest_to_be_computed_once(
    applied: Callable[[Method, str], Trainable], kind: type[LoRA | Adapter], modality: str
):
    trainable = applied(kind(blocks=2), modality)
    depth = len(trainable.classifier.backbone.blocks)
    reached = {
        int(found[1]) for name in trainable.trainable_parameters() if (found := re.search(r"blocks\.(\d)", name))
    }
    # a convolutional network's last block is one convolution, after which no adapter sits
    top = {depth - 2} if (kind, modality) == (Adapter, "image") else {depth - 2, depth - 1}
    assert reached == top
    assert trainable.frozen_depth() == depth - 2
    everywhere, all_named = applied(kind(), modality), applied(kind(blocks=depth), modality)
    assert set(everywhere.trainable_parameters()) == set(all_named.trainable_parameters())


@pytest.mark.parametrize("kind", [LoRA, Adapter])
def test_a_number_of_blocks_that_the_model_lacks_is_named(
    applied: Callable[[Method, str], Trainable], kind: type[LoRA | Adapter]
):
    with pytest.raises(FtkitError, match="blocks = 7: minilm has 6 blocks; choose 1 to 6"):
        applied(kind(blocks=7), "text")


def test_top_blocks_without_a_place_for_an_adapter_are_named(applied: Callable[[Method, str], Trainable]):
    with pytest.raises(FtkitError, match="Bottleneck adapter finds no place in the top 1 of efficientnet-lite0"):
        applied(Adapter(blocks=1), "image")
