"""A classifier inside peft's wrapper, as all methods are handled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import PeftModel
from peft.utils import SAFETENSORS_WEIGHTS_NAME, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn

from ftkit.methods.base import Trainable, check_fit, read_tensors, weights_written_to

if TYPE_CHECKING:
    from ftkit.classifier import Classifier


class PeftTrainable(Trainable):
    """A classifier inside peft's wrapper: the adapters and the copy of the head that peft saves train."""

    model: PeftModel

    @property
    def classifier(self) -> Classifier:
        """The classifier itself, adapters inside."""
        return self.model.get_base_model()

    @property
    def head(self) -> nn.Module:
        """The output layer that trains: peft keeps the untrained one beside it."""
        wrapper: Any = self.classifier.head
        return wrapper.modules_to_save["default"]

    def _all_parameters(self) -> list[nn.Parameter]:
        return [parameter for name, parameter in self.model.named_parameters() if "original_module" not in name]

    def training_mode(self) -> None:
        """Put what trains in training mode, and tell layers with an update so: only then do they drop its inputs."""
        super().training_mode()
        for module in self.model.modules():
            if hasattr(module, "lora_dropout"):
                module.training = True  # not what lies in it: the pretrained layer stays as it is

    def save(self, folder: Path) -> None:
        """Write the adapter and the head in peft's own format; `peft.PeftModel.from_pretrained` reads it too."""
        with weights_written_to(folder):
            self.model.save_pretrained(str(folder))
        (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card; ours is run.json

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        saved = read_tensors(folder / SAFETENSORS_WEIGHTS_NAME)
        check_fit(saved, get_peft_model_state_dict(self.model))
        set_peft_model_state_dict(self.model, saved)

    def merge(self) -> Classifier:
        """Fold the update into the weights and return the plain classifier (LoRA only)."""
        return self.model.merge_and_unload()

    def switched_off(self) -> Classifier:
        """Take away what was added to the backbone and return the plain classifier: the pretrained backbone again."""
        return self.model.unload()
