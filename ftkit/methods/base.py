"""What a method is, and what it leaves behind: a model of which some parts train."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ftkit.errors import FtkitError

if TYPE_CHECKING:
    from ftkit.backbones.base import Targets
    from ftkit.classifier import Classifier

TRAINED_FILE = "trained.safetensors"
EVERYWHERE = ("text", "image", "audio")
"""All modalities."""


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters.

    Attributes
    ----------
    trainable
        Parameters that train, the head included.
    head
        Parameters of the head.
    total
        Parameters of the whole model, those that a method added included.
    """

    trainable: int
    head: int
    total: int

    @property
    def adapted(self) -> int:
        """Parameters that train apart from the head."""
        return self.trainable - self.head

    @property
    def share(self) -> float:
        """Trained share of all parameters, head included, in 0..1."""
        return self.trainable / self.total


class Trainable:
    """A model whose trainable parts are marked.

    Parameters
    ----------
    model
        The classifier, or peft's wrapper around it; parameters that train have ``requires_grad``.
    active
        Modules that run in training mode while training. Everything else stays in eval mode: frozen dropout drops
        nothing and frozen batch normalisation keeps its statistics.
    """

    def __init__(self, model: nn.Module, active: tuple[nn.Module, ...]) -> None:
        self.model = model
        self.active = active

    @property
    def classifier(self) -> Classifier:
        """The classifier itself, with whatever a method put inside it."""
        return cast("Classifier", self.model)

    @property
    def head(self) -> nn.Module:
        """The output layer that trains."""
        return self.classifier.head

    def training_mode(self) -> None:
        """Put what trains in training mode and keep the rest in eval mode."""
        self.model.eval()
        for module in self.active:
            module.train()

    def renews_statistics(self) -> bool:
        """Whether batch normalisation goes by the statistics of a batch at any step, which must then stay whole."""
        return has_batch_norm(self.active)

    def begin_step(self, progress: float) -> None:
        """Get ready for a step; ``progress`` is the share of all steps that are done. By default, do nothing."""

    def penalty(self) -> Tensor | None:
        """A loss that is added to the task's in every step; None, the default, adds nothing."""
        return None

    def end_step(self, rate: float) -> None:
        """Finish a step that was made at a learning rate. By default, do nothing."""

    def end_training(self) -> None:
        """Let go of what only the steps needed. By default, do nothing."""

    def frozen_depth(self) -> int:
        """Count what need not be computed again in every epoch, because nothing in it changes.

        Returns
        -------
        int
            0 where the input itself may train; else how many blocks from the input are frozen; one more than there
            are blocks where the pooled features are frozen too.
        """
        backbone = self.classifier.backbone
        stages = [backbone.embed, *backbone.blocks, backbone.norm]
        frozen = list(itertools.takewhile(self._is_frozen, stages))
        return max(0, len(frozen) - 1)

    def _is_frozen(self, module: nn.Module) -> bool:
        active = {id(part) for root in self.active for part in root.modules()}
        trains = any(parameter.requires_grad for parameter in module.parameters())
        return not trains and not any(id(part) in active for part in module.modules())

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that train, by name."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer: matrices decay, vectors (norms and biases) do not.

        A group may have a ``"rate_share"``: its learning rate over that of the head, at most 1.
        """
        return decay_groups(self.trainable_parameters().values(), weight_decay)

    def count(self) -> ParameterCount:
        """Count parameters: those that train, the head's, all."""
        return ParameterCount(
            trainable=sum(parameter.numel() for parameter in self.trainable_parameters().values()),
            head=sum(parameter.numel() for parameter in self.head.parameters() if parameter.requires_grad),
            total=sum(parameter.numel() for parameter in self._all_parameters()),
        )

    def _all_parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def trained_state(self) -> dict[str, Tensor]:
        """Copies of all tensors that training may change: trainable parameters and buffers of active modules."""
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in self.trained_tensors().items()
        }

    def trained_tensors(self) -> dict[str, Tensor]:
        """All tensors that training may change, not copied."""
        active = {id(buffer) for module in self.active for buffer in module.buffers()}
        buffers = {name: buffer for name, buffer in self.model.named_buffers() if id(buffer) in active}
        return {**self.trainable_parameters(), **buffers}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `trained_state` returned.

        Raises
        ------
        FtkitError
            If a tensor is missing, left over, or of another shape.
        """
        own = self.trained_tensors()
        check_fit(state, own)
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)

    def save(self, folder: Path) -> None:
        """Write what was trained, and only that, as safetensors.

        Raises
        ------
        FtkitError
            If it can't be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with weights_written_to(folder):
            save_file(self.trained_state(), folder / TRAINED_FILE)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises
        ------
        FtkitError
            If the file is missing, damaged, or of another model.
        """
        self.load_trained_state(read_tensors(folder / TRAINED_FILE))

    def merge(self) -> Classifier:
        """Return a plain classifier that computes the same logits.

        Raises
        ------
        FtkitError
            If what the method added can't be folded into the weights.
        """
        return self.classifier


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file of a saved run.

    Raises
    ------
    FtkitError
        If it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise FtkitError(
            f"The weights {path} can't be read ({error}). Copy the run's folder again, or train again."
        ) from error


@contextmanager
def weights_written_to(folder: Path) -> Iterator[None]:
    """Name the folder and what to do where weights can't be written into it.

    Raises
    ------
    FtkitError
        If they can't, as on a full disk, where safetensors' error is no OSError.
    """
    try:
        yield
    except SafetensorError as error:
        raise FtkitError(
            f"The weights can't be written to {folder} ({error}). Free some space, or choose another folder."
        ) from error


def check_fit(saved: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Check that saved tensors are those of a model, by name and shape.

    Raises
    ------
    FtkitError
        If one is missing, left over, or of another shape.
    """
    problems = [f"the file lacks {name}" for name in sorted(set(own) - set(saved))]
    problems += [f"the model has no {name}" for name in sorted(set(saved) - set(own))]
    problems += [
        f"{name} is {tuple(saved[name].shape)} in the file and {tuple(own[name].shape)} in the model"
        for name in sorted(set(saved) & set(own))
        if saved[name].shape != own[name].shape
    ]
    if problems:
        raise FtkitError(f"The saved tensors do not fit this model: {'; '.join(problems[:3])}.")


@dataclass(frozen=True)
class Method(ABC):
    """A way to adapt a pretrained model; its fields are its settings.

    Attributes
    ----------
    name
        The name by which it is chosen, such as ``"lora"``.
    title
        The field's name for it.
    trains
        What trains, in a few words.
    changes
        How it works in each modality: text, image, audio; where it can't, why not.
    modalities
        Where it works, by default everywhere.
    paper
        Where it comes from.
    typical_rate
        A learning rate to start from where none was found by trials.
    choices
        Other values of the one setting that is worth a trial of its own, such as the rank; empty where there is none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    trains: ClassVar[str]
    changes: ClassVar[dict[str, str]]
    modalities: ClassVar[tuple[str, ...]] = EVERYWHERE
    paper: ClassVar[str]
    typical_rate: ClassVar[float]
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {}

    @abstractmethod
    def apply(self, model: Classifier) -> Trainable:
        """Change the model in place so that what this method trains trains, and nothing else does.

        Random initialisation draws from torch's global generator: seed it first.
        """

    def check_applies(self, modality: str) -> None:
        """Raise an `FtkitError` that says why, if the method does not work on a modality."""
        if modality not in self.modalities:
            raise FtkitError(f"{self.title} ({modality}) {self.changes[modality]}. Choose another method.")

    @property
    def starts_with(self) -> tuple[Method, float] | None:
        """A method that trains the head first, and its learning rate; None, the default, if nothing comes first."""
        return None

    def alternatives(self) -> list[Method]:
        """The method with each other value of its `choices`."""
        made = [replace(self, **{name: value}) for name, values in self.choices.items() for value in values]
        return [each for each in made if each != self]

    @property
    def settings(self) -> dict[str, Any]:
        """The method's settings by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def unusual_settings(self) -> dict[str, Any]:
        """The settings that differ from the usual ones, by name."""
        usual = type(self)().settings
        return {name: value for name, value in self.settings.items() if value != usual[name]}

    @property
    def described(self) -> str:
        """The title, with the settings that differ from the usual ones, such as ``"LoRA (rank 32, alpha 64)"``."""
        return f"{self.title} ({in_words(self.unusual_settings)})" if self.unusual_settings else self.title


IN_WORDS = {
    "first": "from block {}",
    "last": "up to block {}",
    "blocks": "top {} blocks",
    "until": "blocks opened over {:.0%} of the steps",
}
"""How a setting is told where its name and value would not say what it does."""


def in_words(settings: dict[str, Any]) -> str:
    """Settings with their values, in the order given.

    Examples
    --------
    >>> in_words({"rank": 32, "strength": 30.0, "last": 4})
    'rank 32, strength 30, up to block 4'
    >>> in_words({"until": 0.25})
    'blocks opened over 25% of the steps'
    """
    return ", ".join(IN_WORDS.get(name, f"{name} {{}}").format(_brief(value)) for name, value in settings.items())


def _brief(value: Any) -> Any:
    """Whole numbers without the decimals that a float shows."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_whole_number(method: Method, name: str, value: object, lowest: int = 1) -> None:
    """Refuse a method's setting that is no whole number, or too low.

    Parameters
    ----------
    method
        Whose setting it is.
    name, value
        The setting's name, and what it was given.
    lowest
        The lowest that may be given, default 1.

    Raises
    ------
    FtkitError
        If the value is anything else; it names all three.

    Examples
    --------
    >>> from ftkit.methods import LoRA
    >>> LoRA(rank=0)
    Traceback (most recent call last):
    ftkit.errors.FtkitError: lora with rank = 0: choose a whole number from 1.
    """
    if not isinstance(value, int) or value < lowest:
        raise FtkitError(f"{method.name} with {name} = {value!r}: choose a whole number from {lowest}.")


def is_number(value: object) -> bool:
    """Whether a setting is a finite number, not a text or nan.

    Examples
    --------
    >>> [is_number(value) for value in (0.5, 1, "0.5", float("nan"), None)]
    [True, True, False, False, False]
    """
    return isinstance(value, int | float) and math.isfinite(value)


def is_vector(parameter: Tensor) -> bool:
    """Whether a tensor is a vector, be it written as a matrix of one row: such parameters scale or shift.

    Examples
    --------
    >>> [is_vector(torch.zeros(shape)) for shape in ((5,), (5, 1), (5, 2))]
    [True, True, False]
    """
    return parameter.numel() == max(parameter.shape, default=1)


def has_batch_norm(modules: Iterable[nn.Module]) -> bool:
    """Whether there is batch normalisation in any of some modules.

    Examples
    --------
    >>> has_batch_norm([nn.Linear(2, 2), nn.Sequential(nn.BatchNorm2d(2))])
    True
    """
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for module in modules for part in module.modules())


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of which only the first, the matrices, decays."""
    every = list(parameters)
    return [
        {"params": [each for each in every if not is_vector(each)], "weight_decay": weight_decay},
        {"params": [each for each in every if is_vector(each)], "weight_decay": 0.0},
    ]


def train_only(model: Classifier, *modules: nn.Module) -> Trainable:
    """Freeze a classifier but for its head and some modules, which alone run in training mode."""
    active = (*modules, model.dropout, model.head)
    freeze(model)
    for module in active:
        unfreeze(module)
    return Trainable(model, active)


def freeze(module: nn.Module) -> None:
    """Exclude all parameters of a module from training."""
    module.requires_grad_(False)


def unfreeze(module: nn.Module) -> None:
    """Include all parameters of a module in training."""
    module.requires_grad_(True)


def targets_of(model: Classifier) -> Targets:
    """Where parameter-efficient methods attach to the model's backbone."""
    return model.backbone.targets
