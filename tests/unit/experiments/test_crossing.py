from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ftkit.errors import FtkitError
from ftkit.evaluation import PairedTest
from ftkit.experiments.crossing import Crossing, crossing, crossing_table
from ftkit.experiments.experiment import Condition, grid
from ftkit.experiments.record import Record

SKILL = {("scratch", 20): 0.3, ("scratch", 200): 0.5, ("scratch", 2000): 0.9, "linear-probe": 0.6, "full": 0.95}


def skill(condition: Condition) -> float:
    return SKILL.get(condition.method) or SKILL[condition.method, condition.examples]


@pytest.fixture
def record(invented_record: Callable[..., Record]) -> Record:
    """From scratch rises from 30 % to 90 %; the probe stays at 60 % and full fine-tuning at 95 %."""
    methods = ["scratch", "linear-probe", "full"]
    conditions = grid(task="spoken-digits", method=methods, examples=[200, 20, 2000], seed=[0, 1, 2, 3, 4])
    return invented_record("data-size", conditions, skill)


def test_curves_cross_between_the_sizes_at_which_the_sign_of_the_difference_changes(record: Record) -> None:
    found = crossing(record, "spoken-digits", "scratch", "linear-probe")
    assert list(found.differences) == [20, 200, 2000]
    assert (found.behind, found.undecided, found.ahead) == ([20, 200], [], [2000])
    # a quarter of the way from 200 to 2000, in logarithms: from 10 points below to 30 points above
    assert found.places == [pytest.approx(200 * 10**0.25, rel=0.05)]
    assert found.in_words == f"near {found.places[0]:,.0f}"


def test_curves_that_keep_their_order_do_not_cross(record: Record) -> None:
    found = crossing(record, "spoken-digits", "scratch", "full")
    assert found.places == []
    assert found.in_words == "nowhere: Full fine-tuning stays higher"
    other = crossing(record, "spoken-digits", "full", "scratch")
    assert other.in_words == found.in_words
    assert other.ahead[:2] == found.behind[:2] == [20, 200]


def test_a_difference_whose_interval_holds_zero_is_undecided(invented_record: Callable[..., Record]) -> None:
    conditions = grid(task="spoken-digits", method=["scratch", "full"], examples=[20, 200], seed=[0, 1, 2, 3, 4])
    alike = invented_record("data-size", conditions, lambda condition: 0.5)
    found = crossing(alike, "spoken-digits", "scratch", "full")
    assert found.undecided == [20, 200]
    assert found.behind == found.ahead == []


def test_the_table_has_a_row_for_each_task_and_method(record: Record) -> None:
    table = crossing_table(record)
    assert table["From scratch against"].tolist() == ["Linear probe", "Full fine-tuning"]
    assert table["behind at"].tolist()[0] == "20, 200"
    assert table["ahead at"].tolist() == ["2,000", "–"]


def test_one_size_is_too_few(record: Record) -> None:
    alone = [each for each in record.outcomes if each.condition.examples == 20]
    with pytest.raises(FtkitError, match=r"has 1 numbers.*ftkit experiment data-size"):
        crossing(replace(record, outcomes=tuple(alone)), "spoken-digits", "scratch", "full")


def test_a_record_that_is_not_finished_has_the_rows_that_can_be_told(record: Record) -> None:
    early = [each for each in record.outcomes if each.condition.method != "full" or each.condition.examples == 20]
    table = crossing_table(replace(record, outcomes=tuple(early)))
    assert table["From scratch against"].tolist() == ["Linear probe"]
    assert crossing_table(replace(record, outcomes=())).empty


@pytest.mark.parametrize("ends", [(-0.1, 0.1), (-0.1, -0.1)])
def test_means_that_are_equal_at_a_size_meet_there(ends: tuple[float, float]) -> None:
    differences = {
        size: PairedTest(difference, difference - 0.05, difference + 0.05, p_value=0.5, n=100, n_discordant=10)
        for size, difference in zip((10, 100, 1000), (ends[0], 0.0, ends[1]), strict=True)
    }
    assert Crossing("movie-reviews", "scratch", "full", differences).places == [100]
