"""What may watch a training and act on it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ftkit.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm.std import tqdm

    from ftkit.training.history import Epoch, Step
    from ftkit.training.loop import Training


class Callback:
    """Does nothing at every occasion; override what is of interest."""

    def on_start(self, training: Training) -> None:
        """Before the first step."""

    def on_step(self, training: Training, step: Step) -> None:
        """After every update of the weights."""

    def on_epoch(self, training: Training, epoch: Epoch) -> None:
        """After every validation."""

    def on_end(self, training: Training) -> None:
        """After the last step, also when the training was interrupted."""


class BestWeights(Callback):
    """Keep the trained tensors of the epoch with the best validation score, and put them back at the end.

    Equal scores are decided by the lower validation loss. Only what trains is kept, never the frozen weights, and it
    is kept in a temporary file: a second copy in memory would be the largest thing there beside the optimizer's.

    Parameters
    ----------
    patience
        Stop after this many epochs without a better one; None, the default, never stops early.

    Raises
    ------
    TrainingError
        If the patience is no whole number from 1; when the training starts, if there is no room for the file.
    """

    def __init__(self, patience: int | None = None) -> None:
        if patience is not None and (not isinstance(patience, int) or patience < 1):
            raise TrainingError(f"patience = {patience!r}: choose a whole number of epochs from 1, or None.")
        self.patience = patience
        self.best: Epoch | None = None
        self.folder: tempfile.TemporaryDirectory[str] | None = None

    def on_start(self, training: Training) -> None:
        """Make the folder of the temporary file; it goes with this object."""
        self.best = None
        self.folder = tempfile.TemporaryDirectory(prefix="ftkit-best-", ignore_cleanup_errors=True)
        size = sum(tensor.nbytes for tensor in training.trainable.trained_tensors().values())
        files = min(training.settings.epochs - 1, 2)  # a better epoch's is written before the last one's goes
        if files * size > shutil.disk_usage(self.folder.name).free:
            raise _no_room(files * size, Path(self.folder.name), "the disk is too full")

    def on_epoch(self, training: Training, epoch: Epoch) -> None:
        """Keep the weights where they are the best so far."""
        if self.best is None or self.improves(epoch, self.best):
            if epoch.epoch < training.settings.epochs:  # after the last epoch nothing changes them any more
                self._write(training.trainable.trained_tensors(), self._file(epoch.epoch))
            # a Ctrl-C at any moment finds the file of the epoch that history names
            before, training.history.best_epoch = training.history.best_epoch, epoch.epoch
            self.best = epoch
            self._file(before).unlink(missing_ok=True)
        elif self.patience is not None and epoch.epoch - self.best.epoch >= self.patience:
            training.stop()

    def _write(self, tensors: dict[str, Tensor], path: Path) -> None:
        # unlike safetensors, torch writes tensors from where they lie; copies would come on top of a step's
        try:
            torch.save({name: tensor.detach() for name, tensor in tensors.items()}, path)
        except (OSError, RuntimeError) as error:  # torch's own writer raises the latter, on a full disk for one
            raise _no_room(sum(tensor.nbytes for tensor in tensors.values()), path.parent, str(error)) from error

    def improves(self, epoch: Epoch, best: Epoch) -> bool:
        """Whether an epoch's weights take the place of those kept so far."""
        return rank(epoch) > rank(best)

    def on_end(self, training: Training) -> None:
        """Put the kept weights back."""
        history = training.history
        moved_on = history.interrupted or history.best_epoch != len(history.epochs)
        if moved_on and 0 < history.best_epoch < training.settings.epochs:
            kept = torch.load(self._file(history.best_epoch), map_location="cpu", mmap=True)  # no second copy
            training.trainable.load_trained_state(kept)
        if self.folder is not None:
            self.folder.cleanup()

    def _file(self, epoch: int) -> Path:
        assert self.folder is not None  # made when the training started
        return Path(self.folder.name) / f"epoch-{epoch}.pt"


def _no_room(nbytes: int, folder: Path, why: str) -> TrainingError:
    return TrainingError(
        f"The best epoch's weights ({nbytes / 1e6:,.0f} MB) can't be kept in {folder.parent}: {why}. Free some space "
        "there, or name another folder for temporary files in TMPDIR."
    )


class LastWeights(BestWeights):
    """Keep the trained tensors of the last whole epoch, whatever validation said: what training too long costs."""

    def improves(self, epoch: Epoch, best: Epoch) -> bool:
        """Always."""
        return True


KEEPERS: dict[str, type[BestWeights]] = {"best": BestWeights, "last": LastWeights}
"""Which epoch's weights a run keeps, by name."""


def as_keeper(keep: str, patience: int | None = None) -> BestWeights:
    """Return what keeps the weights of an epoch.

    Parameters
    ----------
    keep
        A name of `KEEPERS`.
    patience
        See `BestWeights`; where the last epoch is kept there is none.

    Raises
    ------
    TrainingError
        If there is no such name, or the two contradict each other.
    """
    if keep not in KEEPERS:
        raise TrainingError(f"keep = {keep!r}: choose one of {', '.join(KEEPERS)}.")
    if patience is not None and KEEPERS[keep] is LastWeights:
        raise TrainingError(f"keep = {keep!r} with patience = {patience!r}: leave one of them out.")
    return KEEPERS[keep](patience)


def rank(epoch: Epoch) -> tuple[float, float]:
    """What decides which epoch is best: the validation score, then the lower validation loss."""
    return epoch.validation_score, -epoch.validation_loss


class ProgressBar(Callback):
    """One line that counts steps and shows the loss and the last validation score."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.bar: tqdm | None = None
        self.score = ""

    def on_start(self, training: Training) -> None:
        """Show the bar."""
        from tqdm.auto import tqdm

        self.bar = tqdm(total=training.total_steps, desc=self.description, unit="step", leave=False, dynamic_ncols=True)

    def on_step(self, training: Training, step: Step) -> None:
        """Advance by one step."""
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix_str(f"loss {step.loss:.3f}{self.score}", refresh=False)

    def on_epoch(self, training: Training, epoch: Epoch) -> None:
        """Show the new score."""
        self.score = f", validation {epoch.validation_score:.1%}"

    def on_end(self, training: Training) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
