"""Full fine-tuning in an order, at rates by depth, from a better start, with a pull back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ftkit import fine_tune
from ftkit.backbones import load_backbone
from ftkit.classifier import Classifier, backbone_settings
from ftkit.errors import FtkitError
from ftkit.methods import L2SP, LPFT, Discriminative, Full, Gradual, LinearProbe, Method, Replay, Trainable
from ftkit.methods.strategies import RehearsingTrainable
from ftkit.tasks import Task
from ftkit.tasks.source_data import source_data
from ftkit.training.callbacks import Callback
from ftkit.training.history import Step
from ftkit.training.loop import Inputs, Training, TrainingSettings

MODALITIES = ("text", "image", "audio")
DEPTH = {"text": 6, "image": 8, "audio": 4}
Applied = Callable[[Method, str], Trainable]


@pytest.fixture
def train(applied: Applied, tiny_task: Callable[[str], Task]) -> Callable[..., Training]:
    """Return a function that trains a method on a few items and gives back the training."""

    def run(
        method: Method, modality: str = "audio", *, callbacks: tuple[Callback, ...] = (), **settings: Any
    ) -> Training:
        task, trainable = tiny_task(modality), applied(method, modality)
        backbone = trainable.classifier.backbone
        splits = [Inputs(backbone.prepare(split.items), split.labels) for split in (task.train, task.validation)]
        chosen = TrainingSettings(**{"learning_rate": 1e-3, "epochs": 2, "batch_size": 10, **settings})
        training = Training(trainable, *splits, chosen, task.metric, callbacks)
        training.run()
        return training

    return run


def stage_of(name: str, depth: int) -> int:
    """Stage of a parameter counted from the output: 0 the head, then the blocks, last the input."""
    if name.startswith("head."):
        return 0
    if name.startswith("backbone.norm."):
        return 1
    if name.startswith("backbone.embed."):
        return depth + 1
    return depth - int(name.split(".")[2])


# ------------------------------------------------------------------------------------------------ gradual unfreezing


class StagesThatMove(Callback):
    """Which stages' parameters change in which step."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.moved: list[set[int]] = []

    def on_start(self, training: Training) -> None:
        self._keep(training)

    def on_step(self, training: Training, step: Step) -> None:
        changed = {
            stage_of(name, self.depth)
            for name, parameter in training.trainable.model.named_parameters()
            if not torch.equal(parameter, self.before[name])
        }
        self.moved.append(changed)
        self._keep(training)

    def _keep(self, training: Training) -> None:
        self.before = {name: each.detach().clone() for name, each in training.trainable.model.named_parameters()}


@pytest.mark.parametrize("modality", MODALITIES)
def test_stages_start_to_train_from_the_output_to_the_input(train: Callable[..., Training], modality: str):
    depth = DEPTH[modality]
    watch = StagesThatMove(depth)
    items = {"text": 16, "image": 8, "audio": 20}[modality]
    train(Gradual(until=1.0), modality, callbacks=(watch,), batch_size=items // 2, epochs=(depth + 2) // 2 + 1)
    steps = len(watch.moved)
    expected = [set(range(1 + int(step / steps * (depth + 1)))) for step in range(steps)]
    assert watch.moved == expected
    assert watch.moved[0] == {0}
    assert max(watch.moved[-1]) >= depth


def test_all_is_saved_of_a_model_that_unfreezes_gradually(applied: Applied):
    gradual, full = applied(Gradual(), "text"), applied(Full(), "text")
    assert gradual.trainable_parameters().keys() == full.trainable_parameters().keys()
    assert gradual.count() == replace(full.count(), head=gradual.count().head)
    assert gradual.frozen_depth() == 0


@pytest.mark.parametrize("until", [0.0, -0.5, 1.5])
def test_a_share_out_of_range_is_refused(until: float):
    with pytest.raises(FtkitError, match="choose a share above 0, at most 1"):
        Gradual(until=until)


# ------------------------------------------------------------------------------------------------ rates by depth


class FirstRates(Callback):
    """The learning rate of each parameter in the first step, by its name."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}

    def on_step(self, training: Training, step: Step) -> None:
        if step.step > 1:
            return
        names = {id(parameter): name for name, parameter in training.trainable.model.named_parameters()}
        for group in training.optimizer.param_groups:
            self.rates |= {names[id(parameter)]: group["lr"] for parameter in group["params"]}


@pytest.mark.parametrize("modality", MODALITIES)
def test_each_block_has_the_rate_of_the_one_above_it_times_the_decay(train: Callable[..., Training], modality: str):
    first = FirstRates()
    training = train(Discriminative(decay=0.5), modality, callbacks=(first,), epochs=1, warmup=0.0)
    names = [name for name, _ in training.trainable.model.named_parameters()]
    expected = {name: 1e-3 * 0.5 ** stage_of(name, DEPTH[modality]) for name in names}
    assert first.rates == pytest.approx(expected)


def test_without_decay_it_is_full_fine_tuning(train: Callable[..., Training]):
    one, other = train(Discriminative(decay=1.0)), train(Full())
    assert [step.loss for step in one.history.steps] == pytest.approx([s.loss for s in other.history.steps], rel=1e-5)


def test_the_rate_that_is_recorded_is_the_heads(train: Callable[..., Training]):
    recorded = [step.learning_rate for step in train(Discriminative(decay=0.5), warmup=0.5).history.steps]
    assert max(recorded) == pytest.approx(1e-3)


@pytest.mark.parametrize("decay", [0.0, 1.1])
def test_a_decay_out_of_range_is_refused(decay: float):
    with pytest.raises(FtkitError, match="choose above 0, at most 1"):
        Discriminative(decay=decay)


# ------------------------------------------------------------------------------------------------ LP-FT


class FirstHead(Callback):
    """The head before the first step."""

    def on_start(self, training: Training) -> None:
        self.weight: Tensor = training.trainable.head.weight.detach().clone()


@pytest.mark.parametrize("modality", MODALITIES)
def test_it_starts_from_the_head_of_a_linear_probe(tiny_task: Callable[[str], Task], modality: str):
    task, common = tiny_task(modality), {"epochs": 2, "precision": "float32", "progress": False}
    probe = fine_tune(task, LinearProbe(), lr=0.02, **common)
    watch = FirstHead()
    run = fine_tune(task, LPFT(probe_rate=0.02), lr=1e-4, callbacks=[watch], **common)
    torch.testing.assert_close(watch.weight, probe.model.head.weight.detach(), atol=1e-5, rtol=1e-4)
    assert run.seconds > run.history.seconds  # the probe's time counts


# ------------------------------------------------------------------------------------------------ batch statistics


def running_means(trainable: Trainable) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in trainable.model.named_buffers() if name.endswith("running_mean")}


@pytest.mark.parametrize(
    ("method", "renewed"),
    [(Full(), True), (Full(statistics="kept"), False), (LPFT(), False), (LPFT(statistics="renewed"), True)],
)
def test_batch_normalisation_renews_its_statistics_or_keeps_them(
    applied: Applied, train: Callable[..., Training], method: Method, renewed: bool
):
    before = applied(method, "image")
    after = train(method, "image").trainable
    means = running_means(after)
    assert means
    changed = {name for name, each in running_means(before).items() if not torch.equal(each, means[name])}
    assert changed == (set(means) if renewed else set())
    weights = dict(after.model.named_parameters())
    assert not any(torch.equal(each, weights[name]) for name, each in before.model.named_parameters() if "conv" in name)


def test_a_model_that_keeps_its_statistics_answers_in_training_as_in_use(
    applied: Applied, tiny_task: Callable[[str], Task]
):
    trainable = applied(Full(statistics="kept"), "image")
    backbone = trainable.classifier.backbone
    batch = backbone.collate(backbone.prepare(tiny_task("image").train.items[:4]))
    trainable.training_mode()
    trained = trainable.classifier.pooled(batch)
    trainable.model.eval()
    torch.testing.assert_close(trained, trainable.classifier.pooled(batch))


@pytest.mark.parametrize("method", [Full, LPFT])
def test_statistics_that_are_neither_renewed_nor_kept_are_refused(method: type[Full]):
    with pytest.raises(FtkitError, match=r"with statistics = 'frozen': choose 'renewed' or 'kept'\."):
        method(statistics="frozen")


# ------------------------------------------------------------------------------------------------ L2-SP


def distance(training: Training, start: dict[str, Tensor]) -> float:
    """How far the backbone has moved."""
    parameters = training.trainable.classifier.backbone.named_parameters()
    return float(sum((parameter.detach() - start[name]).square().sum() for name, parameter in parameters) ** 0.5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_pull_keeps_the_weights_nearer_to_where_they_were(
    applied: Applied, train: Callable[..., Training], modality: str
):
    start = {
        name: each.detach().clone() for name, each in applied(Full(), modality).classifier.backbone.named_parameters()
    }
    none, some, strong = (distance(train(L2SP(strength=strength), modality), start) for strength in (0.0, 100.0, 1e9))
    assert some < 0.98 * none
    assert strong == 0


def test_without_a_pull_it_is_full_fine_tuning_without_decay(train: Callable[..., Training]):
    one, other = train(L2SP(strength=0.0), weight_decay=0.0), train(Full(), weight_decay=0.0)
    assert [step.loss for step in one.history.steps] == pytest.approx([s.loss for s in other.history.steps], rel=1e-5)


def test_a_negative_pull_is_refused():
    with pytest.raises(FtkitError, match="choose a number from 0"):
        L2SP(strength=-1.0)


# ------------------------------------------------------------------------------------------------ replay


@pytest.mark.parametrize("modality", MODALITIES)
def test_before_the_first_step_a_rehearsal_finds_everything_as_it_was(applied: Applied, modality: str):
    trainable = applied(Replay(), modality)
    trainable.training_mode()
    trainable.begin_step(0.0)
    penalty = trainable.penalty()
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.0, abs=1e-4)
    with torch.no_grad():
        for parameter in trainable.classifier.backbone.blocks.parameters():
            parameter.mul_(1.1)
    moved = trainable.penalty()
    assert moved is not None
    assert moved.item() > 1e-3
    moved.backward()
    assert any(parameter.grad is not None for parameter in trainable.classifier.backbone.parameters())


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rehearsed is still there when training has ended."""
    monkeypatch.setattr(RehearsingTrainable, "end_training", lambda self: None)


@pytest.mark.usefixtures("remembering")
def test_a_rehearsal_remembers_features_of_before_the_first_batch(applied: Applied, train: Callable[..., Training]):
    """A forward pass in training mode already renews the statistics of batch normalisation."""
    trained = train(Replay(), "image").trainable
    assert isinstance(trained, RehearsingTrainable)
    before = applied(Replay(), "image").classifier.eval()
    with torch.no_grad():
        features = before.pooled(before.backbone.collate(trained.inputs))
    torch.testing.assert_close(trained.wanted, features, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("remembering")
@pytest.mark.parametrize("modality", MODALITIES)
def test_what_is_rehearsed_is_prepared_in_float32_whatever_computes(train: Callable[..., Training], modality: str):
    trained = train(Replay(), modality, epochs=1, precision="bf16").trainable
    backbone = trained.classifier.backbone
    expected = backbone.collate(backbone.prepare(source_data(backbone).rehearsed))
    for name, value in backbone.collate(trained.inputs).items():
        assert torch.equal(value, expected[name])


def test_what_only_training_needs_is_gone_after_it(train: Callable[..., Training]):
    pulled, rehearsing = (train(method, "audio", epochs=1).trainable for method in (L2SP(), Replay()))
    assert pulled.start == rehearsing.inputs == []
    assert rehearsing.wanted.numel() == 0


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_what_is_rehearsed_moves_less(train: Callable[..., Training], tiny_task: Callable[[str], Task], modality: str):
    """Of pictures the statistics that batches renew move more than the weights; there the experiment tells."""

    def distance(method: Method) -> float:
        training = train(method, modality, epochs=4)
        rehearsing = RehearsingTrainable(training.trainable.classifier, 1.0, 24)
        task = tiny_task(modality)
        fresh = load_backbone(task.backbone, **backbone_settings(task))
        rehearsing.inputs = fresh.prepare(source_data(fresh).rehearsed)
        with torch.no_grad():
            rehearsing.wanted = Classifier(fresh.eval(), 10).pooled(fresh.collate(rehearsing.inputs))
            penalty = rehearsing.penalty()
        assert penalty is not None
        return penalty.item()

    assert distance(Replay(strength=10.0)) < 0.7 * distance(Full())


@pytest.mark.parametrize(("settings", "problem"), [({"strength": -1.0}, "strength"), ({"items": 0}, "items")])
def test_a_rehearsal_that_cannot_be_is_refused(settings: dict[str, Any], problem: str):
    with pytest.raises(FtkitError, match=problem):
        Replay(**settings)
