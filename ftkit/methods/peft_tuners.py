"""Tuners that peft lacks, registered with it: the bottleneck adapter, the input prompt, the attention prefix.

Because they are peft tuners, peft's own saving, loading, enabling and disabling work on them as on LoRA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import PeftType, register_peft_method
from torch import Tensor, nn

from ftkit.backbones.base import Embedded
from ftkit.errors import FtkitError


def _register(name: str, config: type[PeftConfig], model: type[BaseTuner]) -> PeftType:
    """Register a tuner with peft, whose list of methods is an enumeration closed to outsiders."""
    key = name.upper()
    if key not in PeftType.__members__:
        member = str.__new__(PeftType, key)
        member._name_, member._value_ = key, key
        PeftType._member_map_[key] = member
        PeftType._member_names_.append(key)
        PeftType._value2member_map_[key] = member
        type.__setattr__(PeftType, key, member)
        register_peft_method(name=name, config_cls=config, model_cls=model)
    return PeftType[key]


@dataclass
class _TargetedConfig(PeftConfig):
    """What these tuners share: a regular expression of module names, and modules to train and save beside them."""

    target_modules: str | None = field(default=None)
    exclude_modules: str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)


class _WrappingTuner(BaseTuner):
    """A tuner that wraps every target module in one layer class."""

    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - peft reads it from the class

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
    ) -> None:
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, peft_config)
            return
        layer = self.tuner_layer_cls(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        setattr(parent, target_name, layer)  # peft's own replacement wants parameters, which normalisation lacks

    def merge_and_unload(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Refuse: what this tuner adds can't be folded into the weights."""
        raise FtkitError(
            f"{type(self).__name__} can't be merged: {self.tuner_layer_cls.cannot_merge} Keep it beside the model."
        )


class _WrappingLayer(nn.Module, BaseTunerLayer):
    cannot_merge: str
    base_layer: nn.Module
    # what peft's half of the class brings; peft has no types for a checker
    active_adapters: list[str]
    get_base_layer: Callable[[], nn.Module]
    set_adapter: Callable[..., None]

    def __init__(self, base_layer: nn.Module, adapter_name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self._active_adapter = adapter_name
        self.merged_adapters: list[str] = []

    def _active(self) -> list[str]:
        return [] if self.disable_adapters else list(self.active_adapters)


# ---------------------------------------------------------------------------------------------- bottleneck adapter


@dataclass
class BottleneckConfig(_TargetedConfig):
    """Configuration of `BottleneckModel`.

    Attributes
    ----------
    width
        Size of the bottleneck.
    target_modules
        Regular expression of the modules after which an adapter sits: Linear, or BatchNorm2d for feature maps.
    modules_to_save
        Modules that train and are saved beside the adapters: the head.
    """

    width: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = BOTTLENECK


class BottleneckLayer(_WrappingLayer):
    """``y + up(gelu(down(y)))`` on the output ``y`` of the wrapped module.

    The up-projection starts at zero, so a new adapter changes nothing.
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    cannot_merge = "a nonlinear function sits between its two projections."

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__(base_layer, adapter_name)
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: BottleneckConfig) -> None:
        """Add one adapter."""
        down, up = _projections(self.get_base_layer(), config.width)
        nn.init.normal_(down.get_parameter("weight"), std=1e-2)
        nn.init.zeros_(down.get_parameter("bias"))
        for parameter in up.parameters():
            nn.init.zeros_(parameter)
        self.bottleneck_down[adapter_name] = down
        self.bottleneck_up[adapter_name] = up
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the wrapped module, then the active adapters on its output."""
        output = self.base_layer(*args, **kwargs)
        for name in self._active():
            hidden = nn.functional.gelu(self.bottleneck_down[name](output))
            output = output + self.bottleneck_up[name](hidden)
        return output


def _projections(layer: nn.Module, width: int) -> tuple[nn.Module, nn.Module]:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.out_features, width), nn.Linear(width, layer.out_features)
    if isinstance(layer, nn.BatchNorm2d):
        channels = layer.num_features
        return nn.Conv2d(channels, width, kernel_size=1), nn.Conv2d(width, channels, kernel_size=1)
    raise FtkitError(f"A bottleneck adapter follows a Linear or a BatchNorm2d, not a {type(layer).__name__}.")


class BottleneckModel(_WrappingTuner):
    """peft tuner for bottleneck adapters (Houlsby et al. 2019, arXiv:1902.00751)."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer


# ---------------------------------------------------------------------------------------------- input prompt


@dataclass
class InputPromptConfig(_TargetedConfig):
    """Configuration of `InputPromptModel`.

    Attributes
    ----------
    length
        Virtual tokens or frames before the sequence; for pictures, the border's thickness in pixels.
    image_size
        Height and width in pixels of the square pictures; None for sequences.
    width
        Size of the hidden states; None for pictures.
    """

    length: int = 16
    image_size: int | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = INPUT_PROMPT


class InputPromptLayer(_WrappingLayer):
    """Learned values at the input of a frozen model.

    Around an embedding: virtual positions before the sequence, which attention sees and pooling leaves out. Around
    the normalisation of pictures: a border of learned values, added to the pixels; zero at the start.
    """

    adapter_layer_names = ("input_prompt_values",)
    cannot_merge = "it changes the input, not the weights."
    border: Tensor

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: InputPromptConfig) -> None:
        super().__init__(base_layer, adapter_name)
        self.input_prompt_values = nn.ParameterDict()
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: InputPromptConfig) -> None:
        """Add one prompt."""
        if config.image_size is not None:
            border = _border(config.length, config.image_size)
            values = torch.zeros(3 * int(border.sum()))
            self.register_buffer("border", border, persistent=False)
        else:
            values = torch.randn(config.length, int(config.width or 0)) * 0.02
        self.input_prompt_values[adapter_name] = nn.Parameter(values)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, *args: Any, **kwargs: Any) -> Embedded | Tensor:
        """Run the wrapped module and add the active prompts to its output."""
        output = self.base_layer(*args, **kwargs)
        for name in self._active():
            values = self.input_prompt_values[name]
            output = _prepend(output, values) if isinstance(output, Embedded) else self._frame(output, values)
        return output

    def _frame(self, pixels: Tensor, values: Tensor) -> Tensor:
        if pixels.shape[-2:] != self.border.shape:
            raise FtkitError(
                f"The learned border fits pictures of {tuple(self.border.shape)} pixels, not "
                f"{tuple(pixels.shape[-2:])}; resize the pictures as in training."
            )
        frame = pixels.new_zeros(3, *self.border.shape)
        frame = frame.masked_scatter(self.border.expand_as(frame), values.to(pixels.dtype))
        return pixels + frame


def _border(thickness: int, size: int) -> Tensor:
    """Bool tensor (size, size), True in a frame of the given thickness."""
    if not 0 < 2 * thickness < size:
        raise FtkitError(f"A border of {thickness} pixels does not fit pictures of {size} x {size}; choose less.")
    border = torch.ones(size, size, dtype=torch.bool)
    border[thickness:-thickness, thickness:-thickness] = False
    return border


def _prepend(embedded: Embedded, values: Tensor) -> Embedded:
    batch, length = embedded.hidden.shape[0], values.shape[0]
    prompt = values.to(embedded.hidden.dtype).expand(batch, -1, -1)

    def extend(mask: Tensor | None, fill: bool) -> Tensor | None:
        return None if mask is None else torch.cat([mask.new_full((batch, length), fill), mask], dim=1)

    return Embedded(
        torch.cat([prompt, embedded.hidden], dim=1),
        attends=extend(embedded.attends, True),
        pools=extend(embedded.pools, False),
    )


class InputPromptModel(_WrappingTuner):
    """peft tuner for prompts at the input of any encoder.

    Virtual tokens after Lester et al. 2021 (arXiv:2104.08691), pixel border after Bahng et al. 2022 (arXiv:2203.17274).
    """

    prefix = "input_prompt_"
    tuner_layer_cls = InputPromptLayer


# ---------------------------------------------------------------------------------------------- attention prefix


@dataclass
class AttentionPrefixConfig(_TargetedConfig):
    """Configuration of `AttentionPrefixModel`.

    Attributes
    ----------
    length
        Learned keys and values a layer.
    heads, width
        Number of attention heads and size of one.
    """

    length: int = 16
    heads: int = 1
    width: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = ATTENTION_PREFIX


class AttentionPrefixLayer(_WrappingLayer):
    """Self-attention over learned keys and values and its own.

    peft's own prefix tuning puts them into the cache of a model that generates; a classifier's encoder has none, but
    its attention takes one.
    """

    adapter_layer_names = ("attention_prefix_keys", "attention_prefix_values")
    cannot_merge = "it adds positions to attend to, not weights."

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: AttentionPrefixConfig) -> None:
        super().__init__(base_layer, adapter_name)
        self.attention_prefix_keys = nn.ParameterDict()
        self.attention_prefix_values = nn.ParameterDict()
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: AttentionPrefixConfig) -> None:
        """Add one prefix."""
        for values in (self.attention_prefix_keys, self.attention_prefix_values):
            values[adapter_name] = nn.Parameter(torch.randn(config.heads, config.length, config.width) * 0.02)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the wrapped attention with the active prefixes before its keys and values."""
        for name in self._active():
            keys, values = self.attention_prefix_keys[name], self.attention_prefix_values[name]
            kwargs["past_key_values"] = _Before(keys, values)
        return self.base_layer(*args, **kwargs)


@dataclass(frozen=True)
class _Before:
    """A cache, as transformers' attention knows it, of keys and values that come before every item's own."""

    keys: Tensor
    values: Tensor

    def update(self, keys: Tensor, values: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        """Join them with an item's own, (batch, heads, positions, width)."""
        return tuple(  # type: ignore[return-value]
            torch.cat([first.to(own.dtype).expand(len(own), -1, -1, -1), own], dim=2)
            for first, own in ((self.keys, keys), (self.values, values))
        )


class AttentionPrefixModel(_WrappingTuner):
    """peft tuner for prefixes in the attention of an encoder (Li and Liang 2021, arXiv:2101.00190)."""

    prefix = "attention_prefix_"
    tuner_layer_cls = AttentionPrefixLayer


BOTTLENECK = _register("bottleneck", BottleneckConfig, BottleneckModel)
INPUT_PROMPT = _register("input_prompt", InputPromptConfig, InputPromptModel)
ATTENTION_PREFIX = _register("attention_prefix", AttentionPrefixConfig, AttentionPrefixModel)
