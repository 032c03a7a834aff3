"""Try it yourself: one item in, the answer of every trained method out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ftkit.catalog import asset
from ftkit.errors import FtkitError
from ftkit.tasks.sound import as_wave
from ftkit.widgets.answers import answers_html, ask, error_html
from ftkit.widgets.panel import Panel, import_ipywidgets
from ftkit.widgets.uploads import as_png, read_upload

if TYPE_CHECKING:
    from ftkit.experiments.run import Run
    from ftkit.tasks.base import Task

__all__ = ["Choice", "choices", "try_it"]

_TITLE = "Try it yourself"
_KINDS = {"image": "picture", "audio": "recording"}
_ACCEPTED = {"image": "image/*", "audio": "audio/*,.wav,.flac,.ogg,.mp3"}


@dataclass(frozen=True)
class Choice:
    """A test item to choose from a list.

    Attributes
    ----------
    title
        How the list names it; it does not tell the answer.
    item
        The text, picture or recording.
    truth
        Name of its class.
    """

    title: str
    item: Any
    truth: str


def choices(task: Task, number: int = 6, seed: int = 0) -> list[Choice]:
    """Draw test items, the classes in turn.

    Parameters
    ----------
    task
        The task.
    number
        How many items, default 6.
    seed
        Seed of the draw.
    """
    split, classes = task.test, len(task.label_names)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(split))
    of_class = [order[split.labels[order] == label] for label in range(classes)]
    turns = generator.permutation(classes)
    drawn = [(of_class[turns[place % classes]], place // classes) for place in range(number)]
    positions = [int(members[turn]) for members, turn in drawn if turn < len(members)]
    return [
        Choice(_title(task, number, split.items[position]), split.items[position], _label(task, position))
        for number, position in enumerate(positions, start=1)
    ]


def try_it(runs: Sequence[Run], task: Task, number: int = 6) -> Panel:
    """Return a small form: write a text, or choose or upload a picture or recording, and see every method's answer.

    Parameters
    ----------
    runs
        Trained runs, such as ``comparison.runs``.
    task
        The task that they were trained on; a few of its test items can be chosen from a list.
    number
        How many test items the list offers, default 6.

    Returns
    -------
    Panel
        Show it by making it the last line of a cell.

    Raises
    ------
    FtkitError
        If ipywidgets is not installed or there is no run.

    Examples
    --------
    ``try_it(board.runs, task)``
    """
    widgets = import_ipywidgets("Try it yourself")
    if not runs:
        raise FtkitError("There is no run to try. Train at least one method first.")
    offered = choices(task, number)
    form = (_text_form if task.modality == "text" else _file_form)(widgets, runs, task, offered)
    first = offered[0]
    form.answer.value = _answer(runs, first.item, first.truth)
    shown = f"<p>{escape(first.title)}</p>" + form.answer.value
    credit = widgets.HTML(f"<p><small>{escape(_credit(task))}</small></p>")
    return Panel(widgets.VBox([*form.parts, form.answer, credit]), shown + credit.value, _TITLE)


@dataclass(frozen=True)
class _Form:
    parts: list[Any]
    answer: Any


def _text_form(widgets: Any, runs: Sequence[Run], task: Task, offered: Sequence[Choice]) -> _Form:
    wide = {"width": "640px"}
    chooser = widgets.Dropdown(
        options=[(choice.title, place) for place, choice in enumerate(offered)], description="Examples", layout=wide
    )
    text = widgets.Textarea(value=offered[0].item, description="Your text", layout={**wide, "height": "80px"})
    button = widgets.Button(description="Ask all methods", button_style="primary")
    answer = widgets.HTML()
    truths = {choice.item: choice.truth for choice in offered}

    def choose(change: dict[str, Any]) -> None:
        if change["new"] is not None:
            text.value = offered[change["new"]].item
            reply(button)

    def reply(_: Any) -> None:
        answer.value = _answer(runs, text.value, truths.get(text.value))
        if text.value not in truths:
            chooser.value = None  # so that any example can be chosen again

    chooser.observe(choose, names="value")
    button.on_click(reply)
    return _Form([chooser, text, button], answer)


def _file_form(widgets: Any, runs: Sequence[Run], task: Task, offered: Sequence[Choice]) -> _Form:
    kind = _KINDS[task.modality]
    chooser = widgets.Dropdown(
        options=[(choice.title, place) for place, choice in enumerate(offered)], description="Examples"
    )
    upload = widgets.FileUpload(accept=_ACCEPTED[task.modality], description=f"Your {kind}")
    show: Callable[[Any], bytes] = as_png if task.modality == "image" else as_wave
    first = show(offered[0].item)
    if task.modality == "image":
        player = widgets.Image(value=first, format="png", width=160)
    else:
        player = widgets.Audio(value=first, format="wav", autoplay=False, loop=False)
    answer = widgets.HTML()
    size = len(offered[0].item)  # of pictures: as high as wide

    def choose(change: dict[str, Any]) -> None:
        if change["new"] is None:
            return
        choice = offered[change["new"]]
        player.value = show(choice.item)
        answer.value = _answer(runs, choice.item, choice.truth)

    def read(change: dict[str, Any]) -> None:
        for file in change["new"]:
            try:
                item = read_upload(task.modality, file["name"], bytes(file["content"]), size)
            except FtkitError as error:
                answer.value = error_html(error)
                continue
            player.value = show(item)
            answer.value = f"<p>{escape(file['name'])}</p>" + _answer(runs, item, None)
            chooser.value = None
        upload.value = ()  # so that the same file, or any example, can be chosen again

    chooser.observe(choose, names="value")
    upload.observe(read, names="value")
    return _Form([widgets.HBox([chooser, upload]), player], answer)


def _answer(runs: Sequence[Run], item: Any, truth: str | None) -> str:
    try:
        return answers_html(ask(runs, item), truth)
    except FtkitError as error:
        return error_html(error)


def _title(task: Task, number: int, item: Any) -> str:
    if task.modality == "text":
        return item if len(item) <= 90 else item[:89].rstrip() + "…"
    return f"Test {_KINDS[task.modality]} {number}"


def _label(task: Task, position: int) -> str:
    return task.label_names[int(task.test.labels[position])]


def _credit(task: Task) -> str:
    return " ".join(filter(None, (asset(name).notice for name in task.assets)))
