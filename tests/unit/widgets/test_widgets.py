from __future__ import annotations

import builtins
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import ipywidgets
import pytest

from ftkit import widgets
from ftkit.errors import FtkitError
from ftkit.experiments.depth import depth_sweep
from ftkit.experiments.record import Record
from ftkit.experiments.run import Run
from ftkit.tasks.base import Task
from ftkit.widgets.stack import stack_html
from ftkit.widgets.trying import choices
from ftkit.widgets.uploads import as_png

VIEW = "application/vnd.jupyter.widget-view+json"


def all_of(widget: Any, kind: type) -> list[Any]:
    found = [widget] if isinstance(widget, kind) else []
    for child in getattr(widget, "children", ()):
        found += all_of(child, kind)
    return found


def uploaded(name: str, content: bytes) -> dict[str, Any]:
    modified = datetime(2026, 11, 22, tzinfo=UTC)
    return {"name": name, "type": "image/png", "size": len(content), "content": content, "last_modified": modified}


def test_slider_redraws_the_stack(depths: Record) -> None:
    sweep, panel = depth_sweep("movie-reviews", depths), widgets.freeze_explorer("movie-reviews", depths)
    (slider,), (content,) = all_of(panel.box, ipywidgets.SelectionSlider), all_of(panel.box, ipywidgets.HTML)
    for blocks in (0, 3, 1):
        slider.value = blocks
        assert content.value == stack_html(sweep, blocks)


def test_task_without_recorded_depths_is_named() -> None:
    with pytest.raises(FtkitError, match="Unknown depth record 'movie-revue'"):
        widgets.freeze_explorer("movie-revue")


def test_panel_carries_the_widget_and_its_still_content(depths: Record) -> None:
    bundle = widgets.freeze_explorer("movie-reviews", depths)._repr_mimebundle_()
    assert bundle[VIEW]["model_id"]
    assert "block 2" in bundle["text/html"]
    assert bundle["text/plain"] == "Freeze explorer: run this cell to use it."


def test_choices_take_the_classes_in_turn_and_hide_the_answer(cells: Task) -> None:
    offered = choices(cells, number=6)
    assert len({choice.title for choice in offered}) == 6
    assert {choice.truth for choice in offered[:2]} == {"ok", "defect"}
    assert not any(choice.truth in choice.title for choice in offered)


def test_typed_review_is_answered_by_every_method(runs: list[Run], reviews: Task) -> None:
    box = widgets.try_it(runs, reviews).box
    (text,), (button,) = all_of(box, ipywidgets.Textarea), all_of(box, ipywidgets.Button)
    answer = all_of(box, ipywidgets.HTML)[0]
    text.value = "I wanted to like it. I did not."
    button.click()
    assert "Linear probe" in answer.value
    assert "Prompt tuning" in answer.value
    assert "true answer" not in answer.value


def test_chosen_review_fills_the_text_and_tells_the_truth_with_the_answers(runs: list[Run], reviews: Task) -> None:
    box = widgets.try_it(runs, reviews).box
    (chooser,), (text,) = all_of(box, ipywidgets.Dropdown), all_of(box, ipywidgets.Textarea)
    chooser.value = 2
    expected = choices(reviews)[2]
    assert text.value == expected.item
    assert f"The true answer is <strong>{expected.truth}</strong>" in all_of(box, ipywidgets.HTML)[0].value


def test_empty_text_gets_a_polite_answer(runs: list[Run], reviews: Task) -> None:
    box = widgets.try_it(runs, reviews).box
    all_of(box, ipywidgets.Textarea)[0].value = " "
    all_of(box, ipywidgets.Button)[0].click()
    assert 'role="alert"' in all_of(box, ipywidgets.HTML)[0].value


def test_uploaded_picture_is_shown_and_answered_and_a_broken_one_is_refused(picture_run: Run, cells: Task) -> None:
    box = widgets.try_it([picture_run], cells).box
    upload = all_of(box, ipywidgets.FileUpload)[0]
    shown, answer = all_of(box, ipywidgets.Image)[0], all_of(box, ipywidgets.HTML)[0]
    content = as_png(cells.test.items[5])
    upload.value = (uploaded("my <cell>.png", content),)
    assert shown.value == content
    assert "my &lt;cell&gt;.png" in answer.value
    assert "Linear probe" in answer.value
    upload.value = (uploaded("broken.png", b"oops"),)
    assert 'role="alert"' in answer.value
    assert "broken.png" in answer.value


def test_the_same_picture_and_the_same_example_can_be_asked_about_again(picture_run: Run, cells: Task) -> None:
    box = widgets.try_it([picture_run], cells).box
    upload, chooser = all_of(box, ipywidgets.FileUpload)[0], all_of(box, ipywidgets.Dropdown)[0]
    shown = all_of(box, ipywidgets.Image)[0]
    own, example = as_png(cells.test.items[5]), as_png(choices(cells)[0].item)
    for _ in range(2):
        upload.value = (uploaded("my cell.png", own),)
        assert shown.value == own
        chooser.value = 0
        assert shown.value == example


def test_chosen_picture_is_shown(picture_run: Run, cells: Task) -> None:
    box = widgets.try_it([picture_run], cells).box
    all_of(box, ipywidgets.Dropdown)[0].value = 3
    assert all_of(box, ipywidgets.Image)[0].value == as_png(choices(cells)[3].item)


def test_licence_stands_below_the_form(picture_run: Run, cells: Task) -> None:
    assert "CC BY-NC-SA 4.0" in widgets.try_it([picture_run], cells).still


def test_no_run_is_refused(reviews: Task) -> None:
    with pytest.raises(FtkitError, match="no run to try"):
        widgets.try_it([], reviews)


def test_without_ipywidgets_the_remedy_is_named(depths: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(FtkitError, match=r'pip install "ftkit\[lab\]"'):
        widgets.freeze_explorer("movie-reviews", depths)


def test_plain_functions_import_no_ipywidgets() -> None:
    code = (
        "import sys, ftkit.widgets.stack, ftkit.widgets.answers, ftkit.widgets.uploads, ftkit.widgets.trying, "
        "ftkit.widgets.explorer; assert 'ipywidgets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists() -> None:
    assert all(hasattr(widgets, name) for name in widgets.__all__)
    assert not set(widgets.__all__) & set(dir(builtins))
