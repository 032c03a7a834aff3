from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from PIL import Image

from ftkit import figures
from ftkit.errors import DataError, UnknownNameError
from ftkit.evaluation import Score, mean_score, score_by_group
from ftkit.experiments.comparison import Comparison
from ftkit.experiments.run import Run
from ftkit.figures.curves import smoothed
from ftkit.figures.planes import side_by_side
from ftkit.figures.style import METHOD_STYLES
from ftkit.methods import METHODS, USUAL_METHODS

Draw = Callable[[Comparison], figures.DescribedFigure]

DRAWN: dict[str, Draw] = {
    "scores": figures.scores,
    "scores of another metric": lambda comparison: figures.scores(comparison, "macro_f1"),
    "trade_off trainable": figures.trade_off,
    "trade_off seconds": lambda comparison: figures.trade_off(comparison, "seconds"),
    "trade_off memory": lambda comparison: figures.trade_off(comparison, "memory"),
    "trade_off saved": lambda comparison: figures.trade_off(comparison, "saved"),
    "learning_curves of one": lambda comparison: figures.learning_curves(comparison.runs[0]),
    "learning_curves of seven": lambda comparison: figures.learning_curves(first_seeds(comparison)),
    "confusion": lambda comparison: figures.confusion(comparison.runs[0]),
    "by_group": lambda comparison: figures.by_group(comparison.runs[0]),
}


@pytest.fixture(scope="module", params=list(DRAWN))
def figure(request: pytest.FixtureRequest, comparison: Comparison) -> figures.DescribedFigure:
    return DRAWN[request.param](comparison)


def first_seeds(comparison: Comparison) -> list[Run]:
    return [runs[0] for runs in comparison.by_method().values()]


def mean_of(comparison: Comparison, method: str, metric: str) -> Score:
    runs = comparison.by_method()[method]
    tables = [run.predictions.probabilities for run in runs]
    return mean_score(metric, runs[0].predictions.labels, tables, runs[0].predictions.groups)


def test_texts_are_readable(
    figure: figures.DescribedFigure, assert_readable: Callable[[figures.DescribedFigure], None]
) -> None:
    assert_readable(figure)


def test_every_axes_says_what_it_shows_and_in_which_unit(figure: figures.DescribedFigure) -> None:
    titles = [axes.get_title(loc="left") for axes in figure.axes] + [figure.get_suptitle()]
    assert any(titles)
    for axes in figure.axes:
        assert axes.get_ylabel() or axes.get_yticklabels()
    labels = " ".join(axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes)
    assert "%" in labels


def test_png_is_a_picture_and_the_same_each_time(figure: figures.DescribedFigure) -> None:
    first, again = figures.as_png(figure), figures.as_png(figure)
    assert first == again
    picture = np.asarray(Image.open(io.BytesIO(first)).convert("L"))
    assert picture.shape[1] <= 880
    assert 0.01 < (picture < 250).mean() < 0.9


@pytest.mark.parametrize("name", ["scores", "trade_off saved", "learning_curves of one", "confusion", "by_group"])
def test_drawing_again_gives_the_same_bytes_and_leaves_the_settings_of_matplotlib_alone(
    name: str, comparison: Comparison
) -> None:
    before = dict(matplotlib.rcParams)
    assert figures.as_png(DRAWN[name](comparison)) == figures.as_png(DRAWN[name](comparison))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["scores", "trade_off saved", "learning_curves of seven"])
def test_methods_keep_their_colours_in_the_picture(name: str, comparison: Comparison) -> None:
    picture = Image.open(io.BytesIO(figures.as_png(DRAWN[name](comparison)))).convert("RGB")
    colours = np.array([colour for _, colour in picture.getcolors()])
    for method in USUAL_METHODS:
        apart = np.abs(colours - 255 * np.array(to_rgb(METHOD_STYLES[method].colour))).max(axis=1)
        assert apart.min() <= 1, method  # what no eye tells apart


def test_the_picture_in_html_has_the_description_as_alternative_text(figure: figures.DescribedFigure) -> None:
    html = figures.as_html(figure)
    found = re.fullmatch(
        r'<figure><img src="data:image/png;base64,[^"]+" alt="([^"]+)"[^>]*><figcaption>(.+)</figcaption></figure>',
        html,
    )
    assert found is not None
    assert found[1] == figure.ftkit_alt.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#x27;")
    assert found[2] == figure.ftkit_title
    assert figure._repr_mimebundle_()["text/html"] in html


def test_a_figure_that_was_shown_keeps_no_pixels(comparison: Comparison) -> None:
    figure = figures.scores(comparison)
    figure.canvas.draw()
    assert hasattr(figure.canvas, "renderer")
    figure._repr_html_()
    assert not hasattr(figure.canvas, "renderer")


def test_no_figure_is_kept_by_pyplot(comparison: Comparison) -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figures.scores(comparison)
    assert plt.get_fignums() == before


def test_scores_draws_the_mean_the_interval_and_each_seed(comparison: Comparison) -> None:
    axes = figures.scores(comparison).axes[0]
    for row, (method, runs) in enumerate(comparison.by_method().items()):
        expected = mean_of(comparison, method, comparison.metric)
        here = [line for line in axes.lines if to_hex(line.get_color()).upper() == METHOD_STYLES[method].colour.upper()]
        bar = next(line for line in here if len(line.get_xdata()) == 2)
        marker = next(line for line in here if line.get_marker() == METHOD_STYLES[method].marker)
        dots = [float(line.get_xdata()[0]) for line in here if line.get_marker() == "."]
        assert list(bar.get_xdata()) == pytest.approx([100 * expected.low, 100 * expected.high])
        assert marker.get_xdata()[0] == pytest.approx(100 * expected.value)
        assert marker.get_ydata()[0] == row
        assert sorted(dots) == pytest.approx(sorted(100 * run.scores[comparison.metric].value for run in runs))
        assert axes.get_yticklabels()[row].get_text() == METHOD_STYLES[method].title


def test_scores_draws_baselines_and_chance_as_lines(comparison: Comparison) -> None:
    figure = figures.scores(comparison)
    lines = {line.get_label(): line.get_xdata()[0] for line in figure.axes[0].lines if "%" in str(line.get_label())}
    for baseline in comparison.baselines:
        value = 100 * baseline.scores[comparison.metric].value
        assert lines[f"{baseline.title} {value:.1f} %"] == pytest.approx(value)
    assert lines["Chance 10.0 %"] == pytest.approx(10)


def test_scores_of_one_seed_are_those_of_the_run(comparison: Comparison) -> None:
    single = replace(comparison, runs=first_seeds(comparison))
    figure = figures.scores(single)
    for run in single.runs:
        assert str(run.scores[comparison.metric]) in figure.ftkit_alt
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "."]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize(
    "draw", [figures.scores, lambda comparison, metric: figures.trade_off(comparison, "saved", metric)]
)
def test_descriptions_name_every_method_with_its_score(draw: Callable, metric: str, comparison: Comparison) -> None:
    described = draw(comparison, metric=metric).ftkit_alt
    for method in USUAL_METHODS:
        assert METHOD_STYLES[method].title in described
        assert str(mean_of(comparison, method, metric)) in described


def points_of(axes: Axes) -> dict[str, tuple[float, float]]:
    looks = {(look.marker, look.colour.upper()): name for name, look in METHOD_STYLES.items()}
    keys = {line: (str(line.get_marker()), to_hex(line.get_color()).upper()) for line in axes.lines}
    return {looks[key]: (line.get_xdata()[0], line.get_ydata()[0]) for line, key in keys.items() if key in looks}


@pytest.mark.parametrize(
    ("cost", "spent"),
    [
        ("trainable", lambda run: run.cost.trainable),
        ("seconds", lambda run: run.cost.seconds),
        ("memory", lambda run: run.cost.peak_memory_bytes / 1e6),
        ("saved", lambda run: run.cost.saved_bytes / 1e6),
    ],
)
def test_trade_off_draws_cost_and_score(cost: str, spent: Callable[[Run], float], comparison: Comparison) -> None:
    axes = figures.trade_off(comparison, cost).axes[0]  # type: ignore[arg-type]
    assert (axes.get_xscale() == "log") == (cost in ("trainable", "saved"))
    points = points_of(axes)
    costs = [float(np.mean([spent(run) for run in runs])) for runs in comparison.by_method().values()]
    places = side_by_side(costs) if cost in ("trainable", "saved") else costs
    assert places == pytest.approx(costs, rel=0.5)
    for method, place in zip(comparison.by_method(), places, strict=True):
        expected = (place, 100 * mean_of(comparison, method, comparison.metric).value)
        assert points[method] == pytest.approx(expected)


def test_trade_off_front_is_not_beaten(comparison: Comparison) -> None:
    axes = figures.trade_off(comparison).axes[0]
    front = next(line for line in axes.lines if str(line.get_label()).startswith("Pareto"))
    corners = list(zip(front.get_xdata(), front.get_ydata(), strict=True))[:-1]
    points = list(points_of(axes).values())
    unbeaten = [
        (cost, score)
        for cost, score in points
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
    ]
    np.testing.assert_allclose(corners, sorted(unbeaten))


@pytest.mark.parametrize("cost", ["trainable", "seconds", "memory", "saved"])
def test_trade_off_labels_stay_inside_the_axes_and_off_the_markers(cost: str, comparison: Comparison) -> None:
    figure = figures.trade_off(comparison, cost)  # type: ignore[arg-type]
    axes = figure.axes[0]
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    boxes = {text.get_text(): Text.get_window_extent(text, renderer) for text in axes.texts}
    assert sorted(boxes) == sorted(METHOD_STYLES[name].title for name in USUAL_METHODS)
    for title, box in boxes.items():
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1, title
        for x, y in axes.transData.transform(list(points_of(axes).values())):
            assert not (box.x0 < x < box.x1 and box.y0 < y < box.y1), title


def test_costs_of_several_machines_make_no_front(comparison: Comparison) -> None:
    first, *others = comparison.runs
    elsewhere = replace(first, machine=replace(first.machine, threads=first.machine.threads + 6))
    mixed = replace(comparison, runs=[elsewhere, *others])
    for cost, drawn in (("seconds", False), ("memory", False), ("trainable", True)):
        labels = [str(line.get_label()) for line in figures.trade_off(mixed, cost).axes[0].lines]  # type: ignore[arg-type]
        assert any(label.startswith("Pareto") for label in labels) == drawn


def test_dollars_in_the_names_of_classes_are_drawn_as_they_are(comparison: Comparison) -> None:
    run = comparison.runs[0]
    priced = replace(run, label_names=tuple(f"$$_{name}^" for name in run.label_names))
    drawn = figures.confusion(priced)
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == [
        rf"\$\$_{name}^" for name in run.label_names
    ]
    assert priced.label_names[0] in drawn.ftkit_alt


def test_each_method_has_one_colour_in_all_figures(comparison: Comparison) -> None:
    curves = figures.learning_curves(first_seeds(comparison)).axes[1]
    by_label = {line.get_label(): (to_hex(line.get_color()).upper(), line.get_marker()) for line in curves.lines}
    usual = [METHOD_STYLES[name] for name in USUAL_METHODS]
    assert len({look.colour for look in usual}) == len({look.marker for look in usual}) == len(usual)
    assert len({(look.colour, look.marker) for look in METHOD_STYLES.values()}) == len(METHOD_STYLES)
    for look in usual:
        assert by_label[look.title] == (look.colour.upper(), look.marker)
    for figure in (figures.trade_off(comparison), figures.scores(comparison)):
        assert sorted(points_of(figure.axes[0])) == sorted(USUAL_METHODS)


def test_methods_have_the_titles_and_the_order_of_the_registry() -> None:
    assert [(name, look.title) for name, look in METHOD_STYLES.items()] == [
        (name, method.title) for name, method in METHODS.items()
    ]


def test_learning_curves_draw_each_loss_and_each_validation_score(comparison: Comparison) -> None:
    run = comparison.runs[0]
    figure = figures.learning_curves(run)
    raw, average = figure.axes[0].lines
    assert list(raw.get_xdata()) == [step.step for step in run.history.steps]
    assert list(raw.get_ydata()) == [step.loss for step in run.history.steps]
    assert average.get_ydata()[-1] == pytest.approx(smoothed(np.array(raw.get_ydata()))[-1])
    (line,) = figure.axes[1].lines
    assert list(line.get_ydata()) == pytest.approx([100 * epoch.validation_score for epoch in run.history.epochs])
    ring = next(c for c in figure.axes[1].collections if isinstance(c, PathCollection) and len(c.get_offsets()))
    best = run.history.epochs[run.history.best_epoch - 1]
    assert list(ring.get_offsets()[0]) == pytest.approx([best.epoch, 100 * best.validation_score])
    assert f"best {100 * best.validation_score:.1f} % after epoch {best.epoch}" in figure.ftkit_alt


def test_a_loss_far_above_the_others_leaves_the_figure_at_its_top(comparison: Comparison) -> None:
    runs = list(first_seeds(comparison))
    whole = figures.learning_curves(runs).axes[0]
    assert whole.get_title(loc="left") == "Training loss"
    steps = tuple(replace(step, loss=100 * step.loss) for step in runs[0].history.steps)
    runs[0] = replace(runs[0], history=replace(runs[0].history, steps=steps))
    cut = figures.learning_curves(runs).axes[0]
    assert cut.get_title(loc="left") == "Training loss, cut off at the top"
    assert cut.get_ylim()[1] < 3 * whole.get_ylim()[1]


def test_learning_curves_tell_seeds_of_a_method_apart(comparison: Comparison) -> None:
    runs = comparison.by_method()["lora"]
    lines = figures.learning_curves(runs).axes[1].lines
    assert [line.get_label() for line in lines] == [f"LoRA, seed {run.spec.seed}" for run in runs]
    assert len({line.get_linestyle() for line in lines}) == len(runs)


def test_smoothing_keeps_a_constant_and_follows_a_line() -> None:
    assert smoothed(np.full(200, 0.7)) == pytest.approx(np.full(200, 0.7))
    line = np.linspace(1, 0, 200)
    assert smoothed(line)[30:-30] == pytest.approx(line[30:-30])
    assert smoothed(np.array([0.5])) == pytest.approx([0.5])


def test_confusion_counts_every_test_item(comparison: Comparison) -> None:
    run = comparison.runs[0]
    figure = figures.confusion(run)
    labels = np.asarray(run.predictions.labels)
    chosen = np.asarray(run.predictions.probabilities).argmax(axis=1)
    shares = np.asarray(figure.axes[0].images[0].get_array())
    written = sum(int(found) for text in figure.axes[0].texts for found in re.findall(r"\((\d+)\)", text.get_text()))
    assert written == len(labels)
    for row in range(10):
        assert shares[row, row] == pytest.approx(100 * (chosen[labels == row] == row).mean())
    assert shares.sum(axis=1) == pytest.approx(np.full(10, 100))


def test_by_group_draws_every_group_from_worst_to_best(comparison: Comparison) -> None:
    run = comparison.runs[0]
    predictions = run.predictions
    figure = figures.by_group(run)
    found = score_by_group(predictions.labels, predictions.probabilities, predictions.groups)
    drawn = figure.axes[0].lines[0].get_xdata()
    assert list(drawn) == pytest.approx(sorted(100 * score.value for score in found.values()))
    assert all(f"{name} {score}" in figure.ftkit_alt for name, score in found.items())


def test_by_group_of_many_groups_shows_the_worst_and_best_ten(run_of_many_groups: Run) -> None:
    figure = figures.by_group(run_of_many_groups)
    predictions = run_of_many_groups.predictions
    values = sorted(
        100 * score.value
        for score in score_by_group(predictions.labels, predictions.probabilities, predictions.groups).values()
    )
    assert list(figure.axes[0].lines[0].get_xdata()) == pytest.approx(values[:10] + values[-10:])
    assert [text.get_text() for text in figure.axes[0].texts] == [f"{len(values) - 20} groups between not shown"]


def test_what_cannot_be_drawn_is_refused_by_name(comparison: Comparison) -> None:
    with pytest.raises(DataError, match="no run"):
        figures.learning_curves([])
    with pytest.raises(UnknownNameError, match="'seconds'"):
        figures.trade_off(comparison, "second")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="roc_auc"):
        figures.scores(comparison, "roc_auc")
    with pytest.raises(DataError, match="holds no run"):
        figures.scores(replace(comparison, runs=[]))


def test_show_displays_one_picture_with_its_description(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    from IPython import display

    shown: list[dict[str, str]] = []
    monkeypatch.setattr(display, "display", lambda bundle, raw: shown.append(bundle))
    figure = figures.scores(comparison)
    figures.show(figure)
    figure._ipython_display_()
    assert shown[0] == shown[1]
    assert shown[0]["text/html"].count("<img") == 1
    assert f'alt="{figure.ftkit_title}' in shown[0]["text/html"]
    assert shown[0]["text/plain"] == f"Figure: {figure.ftkit_title}"


def test_importing_the_package_does_not_load_matplotlib() -> None:
    code = "import sys, ftkit.figures; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_every_public_name_loads() -> None:
    for name in figures.__all__:
        assert getattr(figures, name) is not None
    assert callable(figures.style)
    with pytest.raises(AttributeError):
        figures.nothing  # noqa: B018
