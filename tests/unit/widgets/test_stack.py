from __future__ import annotations

import json

import pytest

from ftkit.errors import FtkitError
from ftkit.experiments.depth import DepthSweep
from ftkit.widgets.stack import layers, point_at, stack_html


def test_stack_goes_from_output_to_input_and_trains_from_the_top(sweep: DepthSweep) -> None:
    assert [(layer.name, layer.trains) for layer in layers(sweep, 2)] == [
        ("output layer (head)", True),
        ("layer 3", True),
        ("layer 2", True),
        ("layer 1", False),
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
    assert str(point_at(sweep, 2).validation_score) in page
    assert "Recorded on 2026-11-22, not now" in page
    assert "A &lt;fast&gt; processor" in page


@pytest.mark.parametrize(("blocks", "words"), [(0, "Only the head trains"), (3, "All 3 blocks and the head train")])
def test_ends_of_the_slider_are_said_in_words(sweep: DepthSweep, blocks: int, words: str) -> None:
    assert words in stack_html(sweep, blocks)


def test_chosen_depth_is_marked_once_by_more_than_colour(sweep: DepthSweep) -> None:
    for blocks in range(4):
        assert stack_html(sweep, blocks).count("◀") == 1


def test_unknown_depth_names_the_depths_there_are(sweep: DepthSweep) -> None:
    with pytest.raises(FtkitError, match="no run with 9 trained blocks; it has 0, 1, 2, 3"):
        stack_html(sweep, 9)


def test_sweep_read_back_from_its_file_gives_the_same_page(sweep: DepthSweep, tmp_path) -> None:
    sweep.save(tmp_path / "sweep.json")
    json.loads((tmp_path / "sweep.json").read_text())
    assert stack_html(DepthSweep.load(tmp_path / "sweep.json"), 1) == stack_html(sweep, 1)
