"""LoRA and DoRA inside the weight of a 1x1 convolution.

peft convolves with the frozen weight, then with the two thin matrices, and adds: it reads and writes the widest maps
of a picture network three more times, and keeps what lies between. Added up first, the weight of a 1x1 convolution is
a small matrix, and one convolution does it all. The sum is the same, as `merge` relies on.
"""

from __future__ import annotations

import torch
from peft.tuners import lora
from torch import Tensor, nn
from torch.nn.functional import conv2d


class FoldedConvolution(lora.Conv2d):
    """Peft's LoRA around a convolution, computed as one convolution where that can be.

    References
    ----------
    Hu et al. 2021, arXiv:2106.09685, section 4.1; with lengths Liu et al. 2024, arXiv:2402.09353, section 4.

    Examples
    --------
    >>> from peft import LoraConfig, get_peft_model
    >>> config = LoraConfig(target_modules=["0"])
    >>> config._register_custom_module({nn.Conv2d: FoldedConvolution})
    >>> model = get_peft_model(nn.Sequential(nn.Conv2d(4, 8, kernel_size=1)), config)
    >>> model(torch.ones(1, 4, 2, 2)).shape
    torch.Size([1, 8, 2, 2])
    """

    def whole_weight(self) -> Tensor | None:
        """Return the frozen weight and its updates added up, float32 as they are.

        Returns
        -------
        torch.Tensor or None
            (output channels, input channels, 1, 1), with the updates' gradients, or the frozen weight alone where
            updates are switched off or merged; None where the updates can't be added to the weight: a larger kernel or
            a stride, inputs of the update that are dropped.
        """
        convolution = self.get_base_layer()
        names = [name for name in self.active_adapters if name in self.lora_A]
        if not _is_pointwise(convolution) or (self.disable_adapters and self.merged):
            return None
        if self.disable_adapters or self.merged:
            return convolution.weight
        if len(names) != 1:
            return None
        (name,) = names
        dropout = self.lora_dropout[name]
        if self.lora_bias[name] or (self.training and getattr(dropout, "p", 0) > 0):
            return None
        with torch.autocast(convolution.weight.device.type, enabled=False):
            whole = convolution.weight + self.get_delta_weight(name)
            return self._of_length(whole, name)

    def _of_length(self, whole: Tensor, name: str) -> Tensor:
        """Give every output's weights the length that DoRA learns; their own counts as a constant, as peft has it."""
        if not self.use_dora[name]:
            return whole
        lengths = self.lora_magnitude_vector[name].weight.view(-1, 1, 1, 1)
        return whole * (lengths / whole.detach().norm(dim=1, keepdim=True))

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        """Convolve once with the whole weight, else as peft does."""
        weight = None if args or kwargs else self.whole_weight()
        if weight is None:
            return super().forward(x, *args, **kwargs)
        return conv2d(x, weight, self.get_base_layer().bias)


def _is_pointwise(convolution: nn.Module) -> bool:
    return isinstance(convolution, nn.Conv2d) and (
        convolution.kernel_size == convolution.stride == (1, 1)
        and convolution.padding == (0, 0)
        and convolution.groups == 1
    )
