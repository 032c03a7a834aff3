"""The widgets in a live JupyterLab: sliders move, answers come, figures are there."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from live_lab import Lab
from playwright.sync_api import Page, expect

from ftkit.experiments.depth import depth_sweep

TASK = "movie-reviews"
CELLS = (
    "import tempfile\nimport ftkit\nfrom ftkit.widgets import freeze_explorer, try_it\n"
    f"task = ftkit.load_task({TASK!r}, limit=60)",
    "board = ftkit.compare(task, ['linear-probe', 'lora'], epochs=1, folder=tempfile.mkdtemp(), progress=False)",
    "board.plot()",
    f"freeze_explorer({TASK!r})",
    "try_it(board.runs, task)",
    "print('EVERY', 'CELL', 'RAN')",
)
RUN_ALL = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    return await app.commands.execute('notebook:run-all-cells');
}"""


@pytest.fixture(scope="module")
def lesson(lab: Lab, page: Page) -> Page:
    """A page that shows a notebook with both widgets, all its cells run."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), lab.folder / "widgets.ipynb")
    page.goto(lab.notebook("widgets.ipynb"), wait_until="domcontentloaded")
    page.locator(".jp-Notebook").wait_for(timeout=90_000)
    assert page.evaluate(RUN_ALL) is True
    output = page.locator(".jp-OutputArea-output")
    expect(output.filter(has_text="EVERY CELL RAN")).to_be_visible(timeout=240_000)
    return page


def test_no_cell_ends_in_an_error(lesson: Page) -> None:
    errors = lesson.locator("[data-mime-type='application/vnd.jupyter.error']")

    assert errors.count() == 0, errors.first.inner_text()


def test_the_figure_is_shown_with_its_alternative_text(lesson: Page) -> None:
    figure = lesson.locator(".jp-OutputArea-output img[alt*='Linear probe']").first
    expect(figure).to_be_visible()

    assert figure.evaluate("image => image.naturalWidth") > 400


def test_moving_the_slider_redraws_the_stack(lesson: Page) -> None:
    sweep = depth_sweep(TASK)
    every, widget = sweep.points[-1], lesson.locator(".jp-OutputArea-output").filter(has_text="Trained blocks").last
    handle = widget.locator(".noUi-handle")
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in sweep.points:
        lesson.keyboard.press("ArrowRight")

    expect(widget).to_contain_text(f"{every.trainable:,} parameters", timeout=15_000)
    expect(widget).to_contain_text(str(every.score))


def test_a_typed_review_is_answered_by_every_method(lesson: Page, tmp_path: Path) -> None:
    widget = lesson.locator(".jp-OutputArea-output").filter(has=lesson.get_by_text("Ask all methods")).last
    widget.locator("textarea").fill("A tedious, joyless film that wastes a fine cast.")
    widget.get_by_role("button", name="Ask all methods").click()
    answers = widget.locator("table")

    expect(answers.get_by_role("row")).to_have_count(3, timeout=30_000)
    expect(answers).to_contain_text("Linear probe")
    expect(answers).to_contain_text("LoRA")
    lesson.screenshot(path=str(tmp_path / "widgets.png"))
    assert (tmp_path / "widgets.png").stat().st_size > 10_000
