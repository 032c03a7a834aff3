"""The plain script that people write today: transformers' Trainer, and peft where a method needs it.

It follows the official tutorials (text classification with dynamic padding; pictures made float at every access; audio
classification with Whisper's extractor, which pads to 30 s) on the splits and weights that ftkit uses, with the same
epochs, batch size, learning rate and seed. Precision, schedule and optimizer are Trainer's defaults. No checkpoints
are written, which spares the script their time.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from measuring import BATCH, Measured, Outcome, Stopwatch, compared, load, scores_of
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from ftkit.memory import peak_memory

if TYPE_CHECKING:
    from ftkit.tasks import Split, Task

MOST_TOKENS = 128
RANK, ALPHA = 8, 16
PROMPT_TOKENS = 16


@dataclass(frozen=True)
class Script:
    """A model with its data, as one modality's script sets them up.

    Attributes
    ----------
    model
        What trains is marked by ``requires_grad``.
    dataset
        Turns a split into what Trainer reads.
    collator
        Makes a batch; None for Trainer's own.
    """

    model: nn.Module
    dataset: Callable[[Split], Dataset]
    collator: Any = None


@dataclass(frozen=True)
class Places:
    """Where the methods find their layers in a stock model, as regular expressions over names.

    Attributes
    ----------
    head
        Parameters that are new and train always.
    top
        Parameters of the top third, which partial fine-tuning trains.
    maps
        Modules that LoRA re-parametrises.
    sublayers
        Modules that are followed by a bottleneck adapter.
    saved
        Modules that train beside what peft adds.
    peft_task
        Peft's name of the task, where it has one.
    """

    head: str
    top: str
    maps: str
    sublayers: str
    saved: tuple[str, ...]
    peft_task: str | None = None


PLACES = {
    "text": Places(
        head=r"classifier\.",
        top=r"bert\.(encoder\.layer\.[45]|pooler)\.",
        maps=r".*layer\.\d+\.attention\.self\.(query|value)",
        sublayers=r".*layer\.\d+\.(attention\.)?output\.dense",
        saved=("classifier",),
        peft_task="SEQ_CLS",
    ),
    "image": Places(
        head=r"network\.classifier\.",
        top=r"network\.(blocks\.[56]|conv_head|bn2)\.",
        maps=r".*(blocks\.\d+\.\d+\.conv_pwl?|conv_head)",
        sublayers=r".*blocks\.(0\.\d+\.bn2|[1-6]\.\d+\.bn3)",
        saved=("classifier",),
    ),
    "audio": Places(
        head=r"(projector|classifier)\.",
        top=r"encoder\.(layers\.[23]|layer_norm)\.",
        maps=r".*layers\.\d+\.self_attn\.(q_proj|v_proj)",
        sublayers=r".*layers\.\d+\.(self_attn\.out_proj|fc2)",
        saved=("projector", "classifier"),
    ),
}

METHODS = {
    "text": ("scratch", "linear-probe", "partial", "full", "lora", "adapter", "prompt"),
    "image": ("scratch", "linear-probe", "partial", "full", "lora", "adapter"),
    "audio": ("scratch", "linear-probe", "partial", "full", "lora", "adapter"),
}
"""The methods that the script can be written for."""

NOTES = (
    "peft has no bottleneck adapter: the plain script puts ftkit's own peft tuner into the stock model, so that "
    "the same adapter meets both loops.",
    "peft's prompt tuning knows text models only: pictures and speech have no peer there, and text has it in the whole "
    "comparison.",
    "Both sides train at one learning rate, the one that trials of ftkit had found best for its own model by then. The "
    "plain script has another head, so a better score of ours tells little, and a worse one much.",
    "A smaller test holds the first items of every class, those of a few films and of one speaker: its scores tell "
    "whether both sides learned alike, and not how good either is.",
    "fastai trains by fit_one_cycle with every layer unfrozen, for as many epochs as ours; its fine_tune, in a row of "
    "its own, trains the first of them with the body frozen, and then the body at a small part of the rate, so that "
    "its score at the rate of ours tells nothing of it at its own. It reads pictures in the process that trains, where "
    "no workers compete for two cores.",
)
"""What a reader of the comparison must know."""


def train(
    task: str,
    method: str,
    *,
    epochs: int,
    lr: float,
    seed: int = 0,
    batch_size: int = BATCH,
    limit: int | None = None,
    test_limit: int | None = None,
) -> Measured:
    """Fine-tune with the plain script.

    Parameters
    ----------
    task, method
        Names, as ftkit has them.
    epochs, lr, seed
        Passes through the training split, peak learning rate, seed.
    batch_size
        Training examples a step.
    limit, test_limit
        Examples of the training and the test split; None for all.

    Raises
    ------
    ValueError
        If there is no such script.
    """
    loaded = load(task, limit, test_limit)
    warm_up(loaded, method)
    return train_on(loaded, method, epochs=epochs, lr=lr, seed=seed, batch_size=batch_size)


def grid(
    task: str,
    methods: Sequence[str],
    rates: dict[str, list[float]],
    seeds: int,
    epochs: int,
    limit: int | None = None,
    test_limit: int | None = None,
) -> Measured:
    """Train every method at every learning rate with every seed, one after the other."""
    loaded = load(task, limit, test_limit)
    for method in methods:
        warm_up(loaded, method)
    return compared(
        [
            train_on(loaded, method, epochs=epochs, lr=rate, seed=seed)
            for method in methods
            for rate in rates[method]
            for seed in range(seeds)
        ]
    )


def warm_up(task: Task, method: str) -> None:
    """Import what a training needs, as is done for ours before its watch starts."""
    with tempfile.TemporaryDirectory(prefix="ftkit-bench-") as folder:
        adapt(SCRIPTS[task.modality](task, Path(folder), method == "scratch").model, method, PLACES[task.modality])


def train_on(task: Task, method: str, *, epochs: int, lr: float, seed: int, batch_size: int = BATCH) -> Measured:
    """Fine-tune on a loaded task and measure it."""
    if method not in METHODS[task.modality]:
        raise ValueError(f"the plain script has no {method} for {task.modality}; it has {METHODS[task.modality]}")
    clock = TrainerClock()
    with tempfile.TemporaryDirectory(prefix="ftkit-bench-") as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            learning_rate=lr,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=BATCH,
            eval_strategy="epoch",
            save_strategy="no",
            seed=seed,
            use_cpu=True,
            dataloader_pin_memory=False,  # there is nothing to pin for without a GPU, only a warning
            label_names=["labels"],
            report_to="none",
            disable_tqdm=True,
        )
        watch = Stopwatch()
        set_seed(seed)
        script = SCRIPTS[task.modality](task, Path(folder), method == "scratch")
        model = adapt(script.model, method, PLACES[task.modality])
        before_validation = watch.seconds
        validation = script.dataset(task.validation)
        clock.validation_seconds += watch.seconds - before_validation
        trainer = Trainer(
            model=model,
            args=arguments,
            data_collator=script.collator,
            train_dataset=script.dataset(task.train),
            eval_dataset=validation,
            compute_metrics=_scores,
            callbacks=[clock],
        )
        trainer.train()
        logits = _logits(trainer.predict(script.dataset(task.test)).predictions)
        total = watch.seconds
    scores = _scored(logits, task.test.labels)
    validation = next(told["eval_accuracy"] for told in reversed(trainer.state.log_history) if "eval_accuracy" in told)
    return Measured(
        fit_seconds=clock.ended - watch.started - clock.validation_seconds,
        training_seconds=clock.training_seconds,
        total_seconds=total,
        peak_bytes=peak_memory(),
        scores=scores,
        test_items=len(task.test),
        precision="float32",
        outcomes=[Outcome(method, lr, validation, scores)],
    )


class TrainerClock(TrainerCallback):
    """Tells training from validation: Trainer evaluates after an epoch has ended."""

    def __init__(self) -> None:
        self.training_seconds = 0.0
        self.validation_seconds = 0.0
        self.ended = 0.0
        self._mark = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._mark = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.training_seconds += self._lap()

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self.validation_seconds += self._lap()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.ended = time.perf_counter()

    def _lap(self) -> float:
        before, self._mark = self._mark, time.perf_counter()
        return self._mark - before


# --- methods


def adapt(model: nn.Module, method: str, places: Places) -> nn.Module:
    """Mark what trains, or wrap the model by peft."""
    if method in ("full", "scratch"):
        return model
    if method in ("linear-probe", "partial"):
        trained = places.head if method == "linear-probe" else f"{places.head}|{places.top}"
        for name, parameter in model.named_parameters():
            parameter.requires_grad = re.match(trained, name) is not None
        return model
    from peft import get_peft_model

    return get_peft_model(model, _peft_configuration(method, places))


def _peft_configuration(method: str, places: Places) -> Any:
    from peft import LoraConfig, PromptTuningConfig

    saved = list(places.saved)
    if method == "lora":
        return LoraConfig(
            task_type=places.peft_task, r=RANK, lora_alpha=ALPHA, target_modules=places.maps, modules_to_save=saved
        )
    if method == "prompt":
        return PromptTuningConfig(task_type=places.peft_task, num_virtual_tokens=PROMPT_TOKENS, modules_to_save=saved)
    from ftkit.methods.peft_tuners import BottleneckConfig

    return BottleneckConfig(width=16, target_modules=places.sublayers, modules_to_save=saved)


# --- text


def text_script(task: Task, folder: Path, scratch: bool) -> Script:
    """Set up AutoModelForSequenceClassification with dynamic padding, batches in random order."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

    from ftkit.fetch import fetch

    weights = next(fetch(task.backbone).rglob("config.json")).parent
    tokenizer = AutoTokenizer.from_pretrained(weights)
    classes = len(task.label_names)
    if scratch:
        configuration = AutoConfig.from_pretrained(weights, num_labels=classes)
        model = AutoModelForSequenceClassification.from_config(configuration)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=classes)
    return Script(
        model,
        lambda split: Texts(tokenizer(list(split.items), truncation=True, max_length=MOST_TOKENS), split.labels),
        DataCollatorWithPadding(tokenizer),
    )


class Texts(Dataset):
    """Tokenised texts with their labels."""

    def __init__(self, encoded: Any, labels: np.ndarray) -> None:
        self.encoded = encoded
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = {name: values[index] for name, values in self.encoded.items()}
        return {**row, "labels": int(self.labels[index])}


# --- pictures


def image_script(task: Task, folder: Path, scratch: bool) -> Script:
    """Set up timm's EfficientNet-Lite0 with a new classifier."""
    import timm

    from ftkit.backbones.vision import ARCHITECTURE, load_imagenet_model
    from ftkit.fetch import fetch

    network = timm.create_model(ARCHITECTURE) if scratch else load_imagenet_model(fetch(task.backbone))
    network.reset_classifier(len(task.label_names))
    return Script(PictureClassifier(network), Pictures)


class PictureClassifier(nn.Module):
    """A timm network that answers as Trainer expects."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Logits, and the mean cross-entropy where there are labels."""
        logits = self.network(pixel_values)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Pictures(Dataset):
    """Pictures made float and normalised each time they are asked for, as the tutorials' transforms do."""

    def __init__(self, split: Split) -> None:
        self.items = split.items
        self.labels = split.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = torch.from_numpy(np.ascontiguousarray(self.items[index])).permute(2, 0, 1)
        return {"pixel_values": (pixels.float() - 127.0) / 128.0, "labels": int(self.labels[index])}


# --- speech


def speech_script(task: Task, folder: Path, scratch: bool) -> Script:
    """Set up WhisperForAudioClassification on features of 30 s, computed once."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

    from ftkit.backbones import whisper_encoder_weights
    from ftkit.backbones.whisper_container import TINY_EN

    model = WhisperForAudioClassification(WhisperConfig(**TINY_EN, num_labels=len(task.label_names)))
    if not scratch:
        model.encoder.load_state_dict(whisper_encoder_weights())
    extractor = WhisperFeatureExtractor(feature_size=80)
    return Script(model, lambda split: Spectrograms(split, extractor, folder))


class Spectrograms(Dataset):
    """Log-mel features of 30 s, computed once and kept on disk, where the tutorial's ``dataset.map`` keeps them too.

    An item is read, not mapped, so that the file does not count as the script's resident memory.
    """

    def __init__(self, split: Split, extractor: Any, folder: Path) -> None:
        self.labels = split.labels
        self.path = folder / f"{id(split)}.features"
        with self.path.open("wb") as file:
            for start in range(0, len(split), BATCH):
                clips = split.items[start : start + BATCH]
                features = extractor(clips, sampling_rate=16_000, return_tensors="np")["input_features"]
                self.shape = features.shape[1:]
                features.astype(np.float32).tofile(file)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        size = int(np.prod(self.shape))
        features = np.fromfile(self.path, dtype=np.float32, count=size, offset=index * size * 4)
        return {"input_features": torch.from_numpy(features.reshape(self.shape)), "labels": int(self.labels[index])}


SCRIPTS = {"text": text_script, "image": image_script, "audio": speech_script}
"""What sets up the script of each kind of data."""


def _scores(prediction: Any) -> dict[str, float]:
    return _scored(_logits(prediction.predictions), prediction.label_ids)


def _scored(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return scores_of(labels, torch.softmax(torch.from_numpy(logits), dim=-1).double().numpy())


def _logits(predictions: Any) -> np.ndarray:
    return predictions[0] if isinstance(predictions, tuple) else predictions
