"""Figures of experiments, drawn from records with invented answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import invented
import numpy as np
import pytest

from ftkit import figures
from ftkit.errors import DataError, FtkitError, UnknownNameError
from ftkit.experiments.claims import judge_all, load_claims
from ftkit.experiments.experiment import Condition
from ftkit.experiments.library.data_size import SIZES
from ftkit.experiments.record import Record, record_path
from ftkit.experiments.scoring import guess_score, mean_test_score
from ftkit.figures.baselines import CLASSICAL, GUESS, Level, draw_levels
from ftkit.figures.display import new_figure
from ftkit.figures.overfitting import turns
from ftkit.figures.planes import side_by_side
from ftkit.figures.records import variants
from ftkit.figures.style import method_style

PICTURES = {
    "data_size": figures.data_size,
    "learning_rates": figures.learning_rates,
    "pareto": figures.pareto,
    "depth": figures.depth,
    "layers": figures.layers,
    "regularizers": figures.regularizers,
    "learn_forget": figures.learn_forget,
    "corruption": figures.corruption,
    "unseen_groups": figures.unseen_groups,
    "other_kind": figures.other_kind,
    "label_noise": figures.label_noise,
    "sweeps": figures.sweeps,
    "moved_weights": figures.moved_weights,
    "spectrum": figures.spectrum,
    "mistakes": figures.mistakes,
}


@pytest.fixture(scope="module")
def records(invented_record: Callable[..., Record]) -> dict[str, Record]:
    return invented.records(invented_record)


@pytest.fixture(scope="module")
def drawn(records: dict[str, Record]) -> dict[str, figures.DescribedFigure]:
    return {name: draw(records) for name, draw in invented.DRAWN.items()}


@pytest.mark.parametrize("name", list(invented.DRAWN))
def test_every_figure_is_readable_described_and_says_its_units(
    name: str,
    drawn: dict[str, figures.DescribedFigure],
    assert_readable: Callable[[figures.DescribedFigure], None],
) -> None:
    figure = drawn[name]
    assert_readable(figure)
    assert figure.ftkit_alt.startswith(f"{figure.ftkit_title}.")
    labels = " ".join(axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes)
    assert ("number" if name == "verdicts" else "%") in labels
    assert figure.get_suptitle() or figure.axes[0].get_title(loc="left")


def mean_of(records: dict[str, Record], name: str, **wanted: object) -> str:
    score = mean_test_score(records[name], records[name].where(**wanted))
    return f"{100 * score.value:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"


@pytest.mark.parametrize(
    ("name", "experiment", "wanted", "place"),
    [
        ("data_size", "data-size", {"task": "solar-cells", "method": "full", "examples": 128}, "128"),
        ("learning_rates", "learning-rates", {"method": "prompt", "learning_rate": 0.03}, "0.03"),
        ("depth", "depth", {"task": "spoken-digits", "method": "surgical", "settings.last": 2}, "2"),
        ("depth", "depth", {"task": "spoken-digits", "method": "linear-probe"}, "0"),
        ("label_noise", "label-noise", {"method": "lora", "label_noise": 0.1}, "10"),
        ("sweeps", "sizes", {"settings.rank": 16}, "16"),
    ],
)
def test_lines_are_told_with_the_means_of_the_record(
    name: str,
    experiment: str,
    wanted: dict[str, object],
    place: str,
    drawn: dict[str, figures.DescribedFigure],
    records: dict[str, Record],
) -> None:
    assert f"{place}: {mean_of(records, experiment, **wanted)}" in drawn[name].ftkit_alt


def test_what_is_told_is_what_is_drawn(records: dict[str, Record]) -> None:
    axes = figures.data_size(records["data-size"]).axes[0]
    line = next(line for line in axes.lines if line.get_marker() == method_style("lora").marker)
    sizes = SIZES["movie-reviews"]
    expected = [
        100 * mean_test_score(records["data-size"], records["data-size"].where(**wanted)).value
        for wanted in ({"task": "movie-reviews", "method": "lora", "examples": size} for size in sizes)
    ]
    assert list(line.get_xdata()) == list(sizes)
    assert list(line.get_ydata()) == pytest.approx(expected)
    assert axes.get_xscale() == "log"


def test_the_best_learning_rate_is_the_one_that_validation_chooses(
    drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]
) -> None:
    assert "Prompt tuning: best on validation at 0.001." in drawn["learning_rates"].ftkit_alt
    best = max(records["learning-rates"].where(method="prompt"), key=lambda each: each.validation_score)
    assert best.condition.learning_rate == 1e-3


def test_pareto_names_all_methods_and_the_front_that_none_beats(
    drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]
) -> None:
    described = drawn["pareto seconds"].ftkit_alt
    outcomes = variants(records["methods"].where(task="movie-reviews"))
    costs = {each.label: np.mean([outcome.seconds for outcome in each.outcomes]) for each in outcomes}
    scores = {each.label: mean_test_score(records["methods"], each.outcomes) for each in outcomes}
    assert all(f"{label}: {costs[label]:.3g} s, {scores[label]}." in described for label in costs)
    front = re.search(r"On the Pareto front: (.*?)\. Most", described)
    assert front is not None
    beaten = {
        label
        for label in costs
        if any(
            costs[other] <= costs[label]
            and scores[other].value >= scores[label].value
            and (costs[other], scores[other].value) != (costs[label], scores[label].value)
            for other in costs
        )
    }
    assert set(front[1].split(", ")) == set(costs) - beaten


@pytest.mark.parametrize(
    ("cost", "compares"), [("seconds", False), ("peak_memory_bytes", False), ("trainable", True), ("saved_bytes", True)]
)
def test_time_and_memory_of_several_machines_have_no_front(
    cost: str,
    compares: bool,
    records: dict[str, Record],
    assert_readable: Callable[[figures.DescribedFigure], None],
) -> None:
    first, *others = records["methods"].outcomes
    mixed = replace(records["methods"], outcomes=(replace(first, machine=1), *others))
    figure = figures.pareto(mixed, cost, first.condition.task)
    assert ("On the Pareto front: " in figure.ftkit_alt) is compares
    assert ("Taken on several machines" in figure.ftkit_alt) is not compares
    legend_title = figure.legends[0].get_title().get_text()
    assert ("Taken on several machines" in legend_title) is not compares
    assert_readable(figure)


def test_the_plane_of_forgetting_names_methods_below_and_their_variants_at_the_points(
    drawn: dict[str, figures.DescribedFigure],
) -> None:
    figure = drawn["learn_forget"]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(named) == len(set(named))
    assert {"Full fine-tuning", "LoRA"} <= set(named)
    written = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert "rate 0.01" in written
    assert not written & set(named)


def test_an_unknown_cost_is_named(records: dict[str, Record]) -> None:
    with pytest.raises(UnknownNameError, match="Unknown cost 'euros'"):
        figures.pareto(records["methods"], "euros", "movie-reviews")


def test_what_was_lost_of_an_ability_is_told_with_the_adapter_on_and_off(
    drawn: dict[str, figures.DescribedFigure],
) -> None:
    place = list(figures.METHOD_STYLES).index("lora")
    lost = 0.2 + 0.4 * place
    assert (
        f"Movie reviews, LoRA: lost {lost + 0.1:.2f} nats ({lost:.2f} to {lost + 0.2:.2f})"
        in drawn["learn_forget"].ftkit_alt
    )
    assert "lost with the added part off 0.00" in drawn["learn_forget"].ftkit_alt
    assert "Full fine-tuning, rate 0.01:" in drawn["learn_forget"].ftkit_alt


def test_measures_are_told_stage_by_stage_with_the_range_of_seeds(
    drawn: dict[str, figures.DescribedFigure],
) -> None:
    assert "Spoken digits, probe in %, Before fine-tuning: input: 50.0 (50.0 to 50.0);" in drawn["layers"].ftkit_alt
    assert "Spoken digits, CKA, LoRA: input: 1.00 (1.00 to 1.00);" in drawn["layers"].ftkit_alt
    assert "layer 4: 0.76 (0.68 to 0.84)." in drawn["layers"].ftkit_alt
    assert "last convolution: 4.20 (4.00 to 4.40)." in drawn["moved_weights"].ftkit_alt
    assert "Spoken digits, LoRA: 1: 24.2 (24.0 to 24.4); 4: 44.2" in drawn["spectrum"].ftkit_alt
    assert "Movie reviews, typing errors." in drawn["corruption"].ftkit_alt


def test_two_points_a_method_tell_what_changed(
    drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]
) -> None:
    right = [
        100 * invented.skill(each.condition) for each in records["shift"].where(task="movie-reviews", method="lora")
    ]
    met, never = (f"{right[0] + 0.2 + up:.1f} ({right[0] + up:.1f} to {right[0] + 0.4 + up:.1f})" for up in (10, 0))
    described = drawn["unseen_groups"].ftkit_alt
    assert f"LoRA: {met}; {never}." in described
    assert "Solar cells" not in described  # its items have no groups
    other = drawn["other_kind"]
    assert [axes.get_title(loc="left") for axes in other.axes] == ["Solar cells: mono", "Solar cells: poly"]
    assert "after training on mono only" in other.ftkit_alt
    points = {line.get_marker(): line for line in other.axes[1].lines if line.get_markerfacecolor() == "white"}
    right = 100 * invented.skill(records["other-kind"].where(method="lora", kind="mono")[0].condition)
    assert points[method_style("lora").marker].get_xdata()[0] == pytest.approx(right + 0.2 - 10)


def test_remedies_differ_by_their_options_and_in_their_looks(
    drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]
) -> None:
    described, axes = drawn["regularizers"].ftkit_alt, drawn["regularizers"].axes[-1]
    record = records["regularizers"]
    plain = mean_test_score(record, record.where(task="movie-reviews", method="full", learning_rate=1e-4, options={}))
    assert "Learning rate 0.0001 where no other is named." in described
    assert f"Full fine-tuning: {plain}, weights of epoch 5 (5 to 6)" in described
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:3] == ["Full fine-tuning", "Full fine-tuning, keep last", "Full fine-tuning, patience 2"]
    assert names[-2:] == ["Full fine-tuning, chosen rate", "LoRA, chosen rate"]
    looks = {(line.get_color(), line.get_marker()) for line in axes.lines if line.get_marker() not in ("|", "None")}
    assert len(looks) == len(names) == 11


def test_other_sizes_and_repaired_sets_stand_beside_wrong_labels(
    drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]
) -> None:
    record = records["label-noise"]
    fewer = mean_test_score(record, record.where(method="lora", examples=200))
    more = mean_test_score(record, record.where(method="lora", examples=800, label_noise=0.4))
    assert f"LoRA with 200 examples, 0 % of the labels wrong: {fewer}." in drawn["label_noise"].ftkit_alt
    assert f"LoRA with 800 examples, 40 % of the labels wrong: {more}." in drawn["label_noise"].ftkit_alt
    assert "With labels that look wrong taken out, LoRA: 20:" in drawn["label_noise"].ftkit_alt


def test_sweeps_tell_how_many_parameters_train(drawn: dict[str, figures.DescribedFigure]) -> None:
    assert "Trained parameters by rank: 1: 370 k; 4: 924 k;" in drawn["sweeps"].ftkit_alt


def test_claims_are_told_with_their_verdicts(
    drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]
) -> None:
    judged = invented.judgements(records)
    held = [each for each in judged if each.verdict != "not measured"]
    assert f"{len(held)} claims measured, {len(judged) - len(held)} not." in drawn["claims"].ftkit_alt
    for each in held:
        assert f"{each.claim.statement} ({each.claim.group}) {str(each).capitalize()}." in drawn["claims"].ftkit_alt
    some = invented.judgements({"methods": records["methods"]})
    measured = sum(each.verdict != "not measured" for each in some)
    assert f"{measured} claims measured, {len(some) - measured} not." in figures.claims(some).ftkit_alt


def test_verdicts_are_counted_by_group(drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]) -> None:
    judged = [each for each in invented.judgements(records) if each.verdict != "not measured"]
    (axes,) = drawn["verdicts"].axes
    for container, verdict in zip(axes.containers, ("holds", "does not hold here", "undecided"), strict=True):
        assert container.get_label() == f"{verdict}: {sum(each.verdict == verdict for each in judged)}"
    challenges = [each.verdict for each in judged if each.claim.group == "challenges"]
    assert (
        f"Challenges: holds {challenges.count('holds')}, does not hold here {challenges.count('does not hold here')}, "
        f"undecided {challenges.count('undecided')}." in drawn["verdicts"].ftkit_alt
    )


def test_claims_on_word_error_rates_and_on_costs_have_axes_of_their_own() -> None:
    shares, words, costs = figures.claims(list(judge_all(load_claims(), record_path("methods").parent))).axes
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in (shares, words, costs)]
    assert "pretraining helps movie reviews" in names[0]
    assert "a high rate forgets speech" in names[1]
    assert all(name.endswith("speech") for name in names[1] if name.islower())
    assert "lora files are small" in names[2]
    assert [axes.get_xscale() for axes in (shares, words, costs)] == ["linear", "linear", "log"]


@pytest.mark.parametrize("spent", [[10.0] * 7, [10.5, 10.0, 100.0], [10.0, 10.0, 10.0, 10.0, 12.0], [3.0, 1.0], [5.0]])
def test_equal_costs_stand_side_by_side_in_their_order(spent: list[float]) -> None:
    places = side_by_side(spent)
    order = sorted(range(len(spent)), key=lambda index: spent[index])
    assert [places[index] for index in order] == sorted(places)
    assert len(set(places)) == len(spent)
    assert np.allclose(np.log(places).mean(), np.log(spent).mean())


def test_an_axis_says_where_points_were_moved(drawn: dict[str, figures.DescribedFigure]) -> None:
    (axes,) = drawn["pareto trainable"].axes
    assert axes.get_xlabel() == "Trained parameters (logarithmic; equal costs stand side by side)"
    assert drawn["pareto seconds"].axes[0].get_xlabel() == "Training time, seconds"


def test_curves_that_run_into_one_take_turns_on_it() -> None:
    curve = np.array([0.7, 0.1])
    assert turns([curve, curve + 0.009, curve + 0.018]) == [(0, 2), (1, 2), (0, 1)]
    assert turns([curve, curve[:1]]) == [(0, 1), (0, 1)]


def test_guessing_is_told_and_drawn_where_scores_come_near_it(
    drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]
) -> None:
    assert guess_score(records["data-size"].tests["movie-reviews"]) == 0.5
    assert drawn["data_size"].ftkit_alt.count("Most frequent class: 50.0 %.") == 2
    assert drawn["data_size"].ftkit_alt.count("Most frequent class: 10.0 %.") == 1
    guessed = [
        any(line.get_label() == "Most frequent class" for line in axes.lines) for axes in drawn["data_size"].axes
    ]
    assert guessed == [True, True, False]


@pytest.mark.parametrize("name", list(PICTURES))
def test_a_record_without_what_is_needed_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"record of 'empty' has no .* yet"):
        PICTURES[name](Record("empty", {}))


def test_no_claim_measured_is_refused() -> None:
    judged = invented.judgements({})
    for draw in (figures.claims, figures.verdicts):
        with pytest.raises(DataError, match=f"None of {len(judged)} claims was measured"):
            draw(judged)


def test_a_classical_method_is_a_line_over_data_and_a_level_elsewhere(
    drawn: dict[str, figures.DescribedFigure], records: dict[str, Record]
) -> None:
    def classical(name: str) -> list[list[float]]:
        lines = [line for axes in drawn[name].axes for line in axes.lines if line.get_label() == CLASSICAL]
        return [np.asarray(line.get_xdata()).tolist() for line in lines]

    assert classical("data_size") == [sorted(sizes) for sizes in SIZES.values()]
    assert classical("label_noise") == [[0, 10, 20, 40]]
    assert len(classical("learning_rates")) == 1
    for name in ("data_size", "label_noise", "learning_rates", "pareto trainable", "regularizers", "sweeps"):
        assert "Classical: " in drawn[name].ftkit_alt


def test_a_score_far_below_all_methods_is_named_at_the_axis() -> None:
    axes = new_figure(height=3).subplots()
    axes.plot([0, 1], [80, 90])
    axes.set_xlabel("examples")
    told = draw_levels(axes, [Level(GUESS, GUESS, 10.0), Level(CLASSICAL, "TF-IDF", 79.0)])
    assert told == "Most frequent class: 10.0 %. TF-IDF: 79.0 %."
    assert [line.get_label() for line in axes.lines[1:]] == [CLASSICAL]
    assert axes.get_xlabel() == "examples\n(below the axis:\nmost frequent class 10 %)"


@pytest.mark.parametrize("name", ["pareto", "mistakes"])
def test_one_of_several_tasks_must_be_chosen(name: str, records: dict[str, Record]) -> None:
    with pytest.raises(DataError, match=r"choose one with task="):
        PICTURES[name](records["methods"])
    with pytest.raises(FtkitError, match="has no training of 'chess'"):
        PICTURES[name](records["methods"], task="chess")


def test_variants_of_a_method_are_named_by_what_differs(records: dict[str, Record]) -> None:
    outcome = records["methods"].where(task="movie-reviews", method="lora", seed=0)[0]
    conditions = [
        Condition("movie-reviews", "lora", {"rank": 4}, examples=8, seed=0),
        Condition("movie-reviews", "lora", {"rank": 4}, examples=8, seed=1),
        Condition("movie-reviews", "lora", {"rank": 8}, examples=8, learning_rate=1e-3),
        Condition("movie-reviews", "full", examples=8, options={"class_weights": True}),
    ]
    found = variants([replace(outcome, condition=condition) for condition in conditions])
    labels = ["Full fine-tuning", "LoRA, rank 4, chosen rate", "LoRA, rank 8, rate 0.001"]
    assert [each.label for each in found] == labels
    assert [len(each.outcomes) for each in found] == [1, 2, 1]
    assert [each.dashes for each in found] == ["-", "-", "--"]
