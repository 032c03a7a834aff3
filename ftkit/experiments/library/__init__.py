"""The experiments that come with the kit, one file each, by name."""

from __future__ import annotations

from ftkit.experiments.experiment import Experiment
from ftkit.experiments.library import (
    batch_statistics,
    data_size,
    depth,
    forgetting,
    label_noise,
    layers,
    learning_rates,
    methods,
    moved_weights,
    other_kind,
    regularizers,
    shift,
    sizes,
)

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        methods,
        data_size,
        learning_rates,
        depth,
        layers,
        moved_weights,
        sizes,
        regularizers,
        label_noise,
        forgetting,
        batch_statistics,
        shift,
        other_kind,
    )
}
"""Every experiment, in the order in which `make evidence` makes them."""
