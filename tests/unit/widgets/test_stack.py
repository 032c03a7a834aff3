from __future__ import annotations

import pytest

from ftkit.errors import FtkitError
from ftkit.experiments.depth import DepthSweep
from ftkit.widgets.stack import layers, point_at, stack_html


def test_stack_goes_from_output_to_input_and_trains_from_the_top(sweep: DepthSweep) -> None:
    assert [(layer.name, layer.trains) for layer in layers(sweep, 2)] == [
        ("output layer (head)", True),
        ("block 3", True),
        ("block 2", True),
        ("block 1", False),
        ("word embeddings (input)", False),
    ]


def test_size_of_a_block_is_what_it_adds_to_the_trained_parameters(sweep: DepthSweep) -> None:
    assert [layer.parameters for layer in layers(sweep, 0)] == [770, 1000, 1000, 1000, None]


def test_every_layer_says_in_words_whether_it_trains(sweep: DepthSweep) -> None:
    page = stack_html(sweep, 1)
    assert page.count("</li>") == 5
    assert page.count(": trained") == 2
    assert page.count(": frozen") == 3


def test_page_tells_parameters_scores_with_intervals_and_that_it_is_recorded(sweep: DepthSweep) -> None:
    page = stack_html(sweep, 2)
    assert "The top 2 of 3 blocks and the head train: 2,770 parameters." in page
    assert str(point_at(sweep, 2).score) in page
    assert "Validation accuracy: 70.0 % (seeds from 70.0 to 70.0)" in page
    assert "Recorded until 2026-11-11, not now: 400 training examples, 3 epochs, learning rate 0.0003, 2 seeds" in page
    assert "A &lt;fast&gt; processor" in page


@pytest.mark.parametrize(("blocks", "words"), [(0, "Only the head trains"), (3, "All 3 blocks and the head train")])
def test_ends_of_the_slider_are_said_in_words(sweep: DepthSweep, blocks: int, words: str) -> None:
    assert words in stack_html(sweep, blocks)


def test_chosen_depth_is_marked_once_by_more_than_colour(sweep: DepthSweep) -> None:
    for blocks in range(4):
        assert stack_html(sweep, blocks).count("◀") == 1


def test_every_depth_has_a_row_with_its_scores_on_both_splits_and_its_time(sweep: DepthSweep) -> None:
    page = stack_html(sweep, 0)
    for point in sweep.points:
        cells = page.partition(f'<th scope="row">{point.blocks}')[2].partition("</tr>")[0]
        assert f"{100 * sum(point.validation_scores) / len(point.validation_scores):.1f} %" in cells
        assert str(point.score) in cells
        assert cells.endswith(f"<td>{point.seconds:.0f}</td>")


def test_unknown_depth_names_the_depths_there_are(sweep: DepthSweep) -> None:
    with pytest.raises(FtkitError, match="no run with 9 trained blocks; it has 0, 1, 2, 3"):
        stack_html(sweep, 9)
