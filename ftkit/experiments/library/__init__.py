"""The experiments that come with the kit, one file each, by name."""

from __future__ import annotations

from ftkit.experiments.experiment import Experiment
from ftkit.experiments.library import data_size, label_noise, learning_rates, methods, moved_weights, regularizers

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (methods, data_size, learning_rates, moved_weights, regularizers, label_noise)
}
"""Every experiment, in the order in which `make evidence` makes them."""
