"""Write the results page and its figures from the results; every number on it comes from them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import charts
import growth
import memory
import start
from growth import AXES, slope
from harness import CHANGED, IMPORTED_AT_ONCE, NEW_CACHE, NOT_KEPT, Result, Spread, folder_name, load_results
from measuring import BATCH
from peers.trainer import NOTES
from pieces import MACHINE_OVER_SHARE, THREADS
from targets import (
    CLASSES,
    IN_FLOAT32,
    TARGETS,
    Target,
    Value,
    guesses,
    mean_score,
    metric_of,
    of_part,
    peer_of,
    score_pairs,
    tells_methods,
    time_ratio,
    uncertainty,
    verdict,
)

from ftkit.figures.display import DescribedFigure, as_png
from ftkit.figures.style import METHOD_STYLES, method_style
from ftkit.paths import write_bytes, write_text
from ftkit.tasks import TASKS

PAGE = "README.md"
TARGETS_BEGIN, TARGETS_END = "<!-- targets -->", "<!-- /targets -->"
TRIED = Path(__file__).with_name("tried.md")
"""What was tried, in words, on the way to the targets."""
SIZES = ("examples", "test items", "repeats")
"""How large a measurement was."""
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
"""Operations in which the work lies that the limit is of."""
PRECISIONS = ("bf16", "float32")
"""In which the machine's matrix rate is told."""
UNLIKE = "†"
"""Marks what was measured with other settings on one processor than on another."""
BUSY_AT_LEAST = 0.4
TRUSTED_WHEN_BUSY = ("peers", "grid", "ablation", "limit", "growth")
ALIKE_WITHIN = 1.2
"""How many times as long the slowest repetition may take as the fastest, before it is named."""
INTRODUCTION = """# Time and memory, measured

Written by `python tests/bench/run.py page` from the JSON files in the folders beside it, one for each processor.
Cases that are compared were run one after the other, and where they were repeated in turns, each in a fresh process and
with an empty cache of frozen activations. A cell shows the median and, in brackets, the lowest and the highest; a ratio
is of runs made one after the other. *Time* against peers and with pieces off is from the loaded task to the trained
model (weights read, data prepared, epochs trained), validation and test excluded; of growth it is that of the epochs
and of what frozen blocks compute, and of the demo, of lessons and of a start that of the whole process. *Memory* is the
highest resident memory of the whole process, imports included.

The plain scripts and fastai compute in float32, as they do unless told otherwise; ftkit in bf16 where a measurement
shows that this is faster, save where float32 is named. What bf16 gives by itself stands among the pieces on each
processor's page.

A target that has a peer is met where the time is, and our score is not below the peer's by more than chance explains.
These trainings are short, though, and a side that has not come beyond guessing has no score to compare: there the time
is that of the same work, and of no result. The tables count in how many trainings, or methods of a whole comparison,
scores are comparable. "Within noise" says little of a small difference: it is one that two scores of as many test items
show by chance, taken as independent: {noise}. Other seeds, and items that resemble each other, add to that.

All is measured anew from time to time on one processor or the other, and the kit has changed in between: compare the
days, and on each processor's page the commits."""


def write_pages(folder: Path) -> Path:
    """Write a page with figures into the folder of every processor, and the page of the targets above them.

    Returns
    -------
    Path
        The page of the targets.
    """
    results = sorted(load_results(folder), key=_place)
    if not results:
        raise SystemExit(f"{folder} holds no results; run the other parts first.")
    by_processor = _by_processor(results)
    for processor, found in by_processor.items():
        _write_page(processor, found, folder / folder_name(processor))
    tried = TRIED.read_text(encoding="utf-8").strip()
    sections = [
        INTRODUCTION.format(noise=_noise(results)),
        _processors(by_processor),
        _targets(by_processor),
        *_every_value(by_processor),
        *_in_float32(by_processor),
        tried,
    ]
    write_text(folder / PAGE, "\n\n".join(sections) + "\n")
    return folder / PAGE


def _write_page(processor: str, results: Sequence[Result], folder: Path) -> None:
    """Write what was measured on one processor."""
    title = f"# Measured on {processor}\n\nThe targets, and how to read the tables: [one page up](../{PAGE})."
    sections = [title, _machine(results), *_doubts(results), *_missed(results)]
    for part, make in SECTIONS.items():
        chosen = of_part(results, part)
        if chosen:
            sections.append(make(chosen, folder))
    write_text(folder / PAGE, "\n\n".join(sections) + "\n")


def _by_processor(results: Sequence[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.processor):
        found.setdefault(result.processor, []).append(result)
    return found


# --- the sections


def _noise(results: Sequence[Result]) -> str:
    """How far apart two scores lie by chance alone, with the fewest test items and with the most."""
    items = sorted(pair.items for result in results for pair in score_pairs(result))
    few, many = (f"{100 * math.sqrt(2) * uncertainty(0.5, count):.0f}" for count in (items[0], items[-1]))
    return f"{few} points with {items[0]} items, {many} with {items[-1]}, where half of the answers are right"


def _machine(results: Sequence[Result]) -> str:
    lines = []
    for machine in _different([result.machine for result in results]):
        of_this = [result for result in results if result.machine == machine]
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        lines.append(
            f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, "
            f"{machine['memory_bytes'] / 1e9:.0f} GB of memory, {machine['system']}, Python {machine['python']}; "
            f"{versions}. Measured {_dates(of_this)}: {', '.join(_parts(of_this))}."
        )
    return "\n\n".join(["## Machine", *lines, _commits(results)])


def _commits(results: Sequence[Result]) -> str:
    """Say of which state of the kit the figures of every part are; what was changed since is not in them."""
    of_commit: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        of_commit.setdefault((result.part, " and ".join(sorted(result.commits))), []).append(result)
    rows = [
        [part, ", ".join(result.name for result in found), commit, _dates(found)]
        for (part, commit), found in sorted(of_commit.items(), key=lambda item: list(SECTIONS).index(item[0][0]))
    ]
    return _table(["part", "of it", "commit of the kit", "measured"], rows)


def _names(results: Sequence[Result]) -> list[str]:
    """Names of results by part."""
    names: dict[str, list[str]] = {}
    for result in results:
        names.setdefault(result.part, []).append(result.name)
    return [f"{part}: {', '.join(found)}" for part, found in names.items()]


def _parts(results: Sequence[Result]) -> list[str]:
    """Parts in the order in which they come; of one that has a single result, its name too."""
    names: dict[str, list[str]] = {}
    for result in results:
        names.setdefault(result.part, []).append(result.name)
    return [part if len(found) > 1 else f"{part} {found[0]}" for part, found in names.items()]


def _doubts(results: Sequence[Result]) -> list[str]:
    """Name what did not get the cores (something else ran, or it was paused), and what is of no single, kept kit."""
    found = [
        f"{result.part} {result.name}, {case}: {sample.busy:.0%}"
        for result in results
        if result.part in TRUSTED_WHEN_BUSY
        for case, samples in result.samples.items()
        for sample in samples
        if sample.busy < BUSY_AT_LEAST
    ]
    apart = [
        f"{result.part} {result.name}, {case}: {_seconds(spread)}"
        for result in results
        for case, spread in _repeated_seconds(result).items()
        if spread.high > ALIKE_WITHIN * spread.low
    ]
    undated = _parts([result for result in results if NOT_KEPT in result.commits])
    doubts = []
    if found:
        doubts.append(
            f"**Not to be trusted**: the cores were busy less than {BUSY_AT_LEAST:.0%} in {'; '.join(found)}."
        )
    if apart:
        doubts.append(
            f"**Far apart**: the slowest repetition took more than {ALIKE_WITHIN:g} times as long as the fastest, and "
            f"something may have run beside it, in {'; '.join(apart)}."
        )
    if undated:
        doubts.append(
            f"**Of an earlier kit**, before commits were kept: {', '.join(undated)}. What was changed since is not in "
            "these figures, solar cells at 128 pixels in the place of 160 among it."
        )
    loose = [result for result in results if len(result.commits) > 1 or result.commits[0].endswith(CHANGED)]
    if loose:
        doubts.append(f"**Of code that changed meanwhile**, or was not committed yet: {'; '.join(_names(loose))}.")
    return doubts


def _repeated_seconds(result: Result) -> dict[str, Spread]:
    """Seconds of every case whose repetitions should have taken about as long."""
    key = {"peers": "fit_seconds", "grid": "fit_seconds", "ablation": "fit_seconds", "growth": "seconds"}
    return {case: result.spread(case, key[result.part]) for case in result.samples} if result.part in key else {}


def _processors(by_processor: Mapping[str, Sequence[Result]]) -> str:
    """Name the processors, each with what it multiplies in a second and the way to its page."""
    rows = [
        [
            f"[{processor}]({folder_name(processor)}/{PAGE})",
            *(_best_rate(results, name) for name in PRECISIONS),
            _dates(results),
        ]
        for processor, results in by_processor.items()
    ]
    head = ["processor", *(f"matmul in {name}, GFLOP/s" for name in PRECISIONS), "measured"]
    return "## Processors\n\n" + _table(head, rows)


def _best_rate(results: Sequence[Result], precision: str) -> str:
    rates = [
        rates[precision]
        for result in of_part(results, "limit")
        for rates in result.values("ours", "matmul_rates")
        if precision in rates
    ]
    return _gigaflops(Spread.of(rates)) if rates else ""


def _targets(by_processor: Mapping[str, Sequence[Result]]) -> str:
    """One row a target, one column a processor: from the lowest to the highest of what was measured for it."""
    rows = []
    for target in TARGETS:
        of_processor = [target.values(results) for results in by_processor.values()]
        names = {value.name for values in of_processor for value in values}
        rows.append([target.case, target.demand, *(_together(values, len(names)) for values in of_processor)])
    table = _table(["case", "target", *by_processor], rows)
    marked = f"{TARGETS_BEGIN}\n{table}\n{TARGETS_END}"  # the README quotes what stands between the marks
    return f"## Targets\n\nFrom the lowest to the highest of the medians that the next table lists.\n\n{marked}"


def _together(values: Sequence[Value], wanted: int) -> str:
    """What was measured for a target, whether that is all that is wanted, and how much of it reached the target."""
    if not values:
        return "not measured"
    measured = "" if len(values) == wanted else f" ({len(values)} of {wanted} measured)"
    missed = sum(not value.met for value in values)
    whole = "**not met**" if missed == len(values) else f"**{missed} of {len(values)} not met**"
    met = "met by the median, not by every repetition" if any(value.torn for value in values) else "met"
    scores = f" ({found})" if (found := _comparable(values)) else ""
    return f"{_range(values)}{measured}: {whole if missed else met}{scores}"


def _comparable(values: Sequence[Value]) -> str:
    """Say in how many trainings, or methods of a comparison, both sides learned, where some did not."""
    guessing = [bool(pair.guessing) for value in values for pair in score_pairs(value.source)]
    return f"scores comparable in {guessing.count(False)} of {len(guessing)}" if any(guessing) else ""


def _range(values: Sequence[Value]) -> str:
    """From the lowest to the highest median; of each bound by itself, where a target has several."""
    alike: dict[float, list[Value]] = {}
    for value in values:
        alike.setdefault(value.bound, []).append(value)
    written = {min((value.name for value in found), key=len): _ends(found) for found in alike.values()}
    if len(written) == 1:
        return next(iter(written.values()))
    return ", ".join(f"{name} {ends}" for name, ends in sorted(written.items()))


def _ends(values: Sequence[Value]) -> str:
    form, unit = FORMS[values[0].unit]
    ends = [form(end([value.spread.median for value in values])) for end in (min, max)]
    return f"{' to '.join(dict.fromkeys(ends))}{unit}"


def _every_value(by_processor: Mapping[str, Sequence[Result]]) -> list[str]:
    """One row a measured value, one column a processor."""
    table = _value_table(TARGETS, by_processor)
    told = (
        f"{UNLIKE} Not measured alike on all processors: numbers of examples or epochs, batch sizes or learning rates "
        "differ, as their pages tell, or the lesson has changed since. Ratios are of two sides that were trained alike "
        "all the same."
    )
    return ["### Value by value", table, *([told] if UNLIKE in table else [])]


def _in_float32(by_processor: Mapping[str, Sequence[Result]]) -> list[str]:
    """Tell what becomes of targets that name no precision where ours is told to compute as the peers do."""
    told = (
        "Some targets name no precision, and above stands what ftkit chose. Where a CPU has no fast bf16 it chooses "
        "float32; told to do so on these processors, it takes:"
    )
    measured = any(target.values(results) for target in IN_FLOAT32 for results in by_processor.values())
    return ["### In float32", told, _value_table(IN_FLOAT32, by_processor)] if measured else []


def _value_table(targets: Sequence[Target], by_processor: Mapping[str, Sequence[Result]]) -> str:
    rows = []
    for target in targets:
        of_processor = {
            processor: {value.name: value for value in target.values(results)}
            for processor, results in by_processor.items()
        }
        for name in dict.fromkeys(name for values in of_processor.values() for name in values) or [""]:
            found = [values.get(name) for values in of_processor.values()]
            rows.append([target.case, target.demand, f"{name}{_mark(found)}", *map(_outcome, found)])
    return _table(["case", "target", "measured on", *by_processor], rows)


def _mark(values: Sequence[Value | None]) -> str:
    """What stands behind a value's name where processors were not given the same."""
    given = [
        (value.source.settings, _examples_of_demo(value.source), _code_of_lesson(value))
        for value in values
        if value is not None
    ]
    return f" {UNLIKE}" if any(each != given[0] for each in given) else ""


def _examples_of_demo(result: Result) -> dict[str, int]:
    """Training examples by task, where the result is a demo; the tasks' usual numbers where it does not say."""
    runs = [run for sample in result.samples.get("demo", []) for run in sample.values["runs"]]
    return {run["task"]: run.get("train_examples", TASKS[run["task"]].default_train) for run in runs}


def _code_of_lesson(value: Value) -> str:
    """The hash of a lesson's code as it was when its memory was measured; empty of all else."""
    lessons = [sample.values for sample in value.source.samples.get("lessons", [])]
    return lessons[0][value.name].get("code_sha256", "") if lessons else ""


def _outcome(value: Value | None) -> str:
    if value is None:
        return "not measured"
    missed = "**not met**, score worse" if value.worse else "**not met**"
    met = "met by the median, not by every repetition" if value.torn else "met"
    pairs = score_pairs(value.source)
    scores = ", scores not comparable" if len(pairs) == 1 and pairs[0].guessing else ""
    if len(pairs) > 1 and (found := _comparable([value])):
        scores = f", {found}"
    return f"{_amount(value)}: {met if value.met else missed}{scores}"


def _missed(results: Sequence[Result]) -> list[str]:
    """Name what has missed its target, and say where the time goes in it."""
    missed = [(target, value) for target in TARGETS for value in target.values(results) if not value.met]
    if not missed:
        return []
    named = "\n".join(_shortfall(target, value) for target, value in missed)
    return ["## What missed its target", named, *_profiles([value for _, value in missed], results)]


def _shortfall(target: Target, value: Value) -> str:
    where = WHERE_IT_GOES.get(value.source.part, "")
    if not where or (value.source.part == "grid" and not tells_methods(value.source)):
        where = "The table below has the most costly operations of a step."
    return f"- {target.case} ({value.name}): {_amount(value)}. Asked: {target.demand}. {where}"


def _profiles(missed: Sequence[Value], results: Sequence[Result]) -> list[str]:
    """Where the time of a step goes in what has missed its target; of a whole comparison, in its full fine-tuning."""
    wanted = {(value.source.settings.get("task"), value.source.settings.get("method", "full")) for value in missed}
    found = [
        result for result in of_part(results, "limit") if (result.settings["task"], result.settings["method"]) in wanted
    ]
    if not found:
        return []
    rows = [
        [result.settings["task"], charts.trained(result), operation, f"{share:.0%}"]
        for result in found
        for operation, share in _whole(result.values("ours", "profile")[0]).items()
    ]
    title = "Where the time of a step goes (of a comparison: in full fine-tuning), by operation:"
    table = _table(["task", "method", "operation", "share of the time"], rows)
    return [title, table, *filter(None, map(_products, found))]


def _whole(profile: Mapping[str, float]) -> dict[str, float]:
    """Write shares of the costly operations, and of all others together.

    Examples
    --------
    >>> _whole({"aten::mm": 0.75})
    {'`aten::mm`': 0.75, 'all others': 0.25}
    """
    return {**{f"`{name}`": share for name, share in profile.items()}, "all others": 1 - sum(profile.values())}


def _products(result: Result) -> str:
    """Say how near to the limit the matrix products come, where there are some: no step comes nearer."""
    share = sum(part for name, part in result.values("ours", "profile")[0].items() if name in PRODUCTS)
    if not share:  # of pictures, the work lies in convolutions
        return ""
    within = result.spread("ours", "share").median / share
    told = (
        f"{result.settings['task']}, {charts.trained(result)}: by the profile the matrix products take {share:.0%} of "
        f"the step, and run at about {within:.0%} of the limit in it."
    )
    if tells_products(result):
        apart = Spread.of([rate / _limit_rate(values) for rate, values in zip(*_products_alone(result), strict=True)])
        told += (
            f" Each repeated by itself, operands at hand, they run at {_write(apart, *FORMS['share'])} of it: what a "
            "step of nothing else would reach."
        )
    return told


def _peers(results: Sequence[Result], folder: Path) -> str:
    rows = [
        [
            result.settings["task"],
            charts.trained(result),
            peer_of(result),
            *_sizes(result, "ours"),
            str(result.settings["epochs"]),
            str(result.settings.get("batch_size", BATCH)),
            f"{result.settings['lr']:g}",
            _seconds(result.spread("ours", "fit_seconds")),
            _seconds(result.spread(peer_of(result), "fit_seconds")),
            _ratio(time_ratio(result)),
            _bytes(result.memory("ours")),
            _bytes(result.memory(peer_of(result))),
            f"{mean_score(result, 'ours'):.1%}",
            f"{mean_score(result, peer_of(result)):.1%}",
            f"{verdict(result)} ({metric_of(result).replace('_', ' ')})",
        ]
        for result in results
    ]
    head = ["task", "method", "peer", *SIZES, "epochs", "batch", "rate", "time, ours", "peer", "ratio"]
    table = _table([*head, "memory, ours", "peer", "test score, ours", "peer", "score"], rows)
    return "\n\n".join(
        ["## Against what people write today", table, *NOTES, _picture(charts.ratios(results), folder, "peers")]
    )


def _grid(results: Sequence[Result], folder: Path) -> str:
    rows = [
        [
            result.settings["task"],
            f"{len(result.settings['methods'])} methods x {len(next(iter(result.settings['rates'].values())))} "
            f"learning rates x {result.settings['seeds']} seeds",
            *_sizes(result, "ours"),
            _seconds(result.spread("ours", "fit_seconds")),
            _seconds(result.spread(peer_of(result), "fit_seconds")),
            _ratio(time_ratio(result)),
            _seconds(result.spread("ours", "training_seconds")),
            _seconds(result.spread(peer_of(result), "training_seconds")),
            _bytes(result.memory("ours")),
            _bytes(result.memory(peer_of(result))),
            f"{mean_score(result, 'ours'):.1%}",
            f"{mean_score(result, peer_of(result)):.1%}",
            verdict(result),
        ]
        for result in results
    ]
    head = ["task", "trainings", *SIZES, "time, ours", "plain script", "ratio", "of it in steps, ours", "plain script"]
    table = _table([*head, "memory, ours", "plain script", "test score, ours", "plain script", "score"], rows)
    return "\n\n".join(["## A whole comparison", table, *(part for result in results for part in _by_method(result))])


def _by_method(result: Result) -> list[str]:
    """Say what each method of a comparison took, and scored, on both sides."""
    cases = ("ours", peer_of(result))
    if not tells_methods(result):
        return ["Scores are means over all trainings, those at poor learning rates among them."]
    totals = {case: result.values(case, "by_method") for case in cases}
    rows = []
    for method, scores in zip(result.settings["methods"], score_pairs(result), strict=True):
        seconds = {case: Spread.of([total[method]["fit_seconds"] for total in totals[case]]) for case in cases}
        pairs = [[total[method]["fit_seconds"] for total in totals[case]] for case in cases]
        ratio = Spread.of([ours / peer for ours, peer in zip(*pairs, strict=True)])
        written = [f"{scores.ours:.1%}", f"{scores.peer:.1%}", scores.verdict]
        title = method_style(method).title
        rows.append([title, *(_seconds(seconds[case]) for case in cases), _ratio(ratio), *written])
    told = (
        "Scores are of each method at the learning rate that was best on validation, over its seeds, and above their "
        "means over the methods; times are sums over all rates and seeds:"
    )
    head = ["method", "time, ours", "plain script", "ratio", "test score, ours", "plain script", "score"]
    return [told, _table(head, rows)]


def _ablation(results: Sequence[Result], folder: Path) -> str:
    rows = [
        [
            result.settings["task"],
            charts.trained(result),
            case,
            *_sizes(result, case),
            _seconds(result.spread(case, "fit_seconds")),
            _ratio(charts.slowdown(result, case)),
            _bytes(result.memory(case)),
            f"{mean_score(result, case):.1%}{' (guessing)' if _guesses(result, case) else ''}",
        ]
        for result in results
        for case in result.samples
    ]
    table = _table(["task", "method", "case", *SIZES, "time", "over everything on", "memory", "test score"], rows)
    told = (
        "Pieces are turned off one by one, then all. They lean on each other: torch's own kernels for pictures are "
        "slowest in bf16, so that without the chosen ones a training may take longer than with bf16 off as well; and "
        "without them normalised maps are checkpointed, which computes them twice. Scores are of few steps, few test "
        "items and one or two seeds: they tell a broken piece, and no difference of some points; where a case is still "
        "guessing they say nothing. With everything off the loop is no plain script, and slower than one: every text "
        "is padded to the most tokens that the model reads, where the scripts above pad to the longest of a batch."
    )
    if any(f"without {THREADS}" in result.samples for result in results):
        told += (
            f" Where threads are not limited, they are {MACHINE_OVER_SHARE} for every CPU, as torch starts them in a "
            f"container whose share of a machine's CPUs is one in {MACHINE_OVER_SHARE}; here, where they are not held "
            "up but compete, this is a stand-in for it, so with everything off they stay limited. What late imports "
            "give stands under [Start](#start)."
        )
    picture = _picture(charts.ablations(results), folder, "ablation")
    return "\n\n".join(["## What each piece gives", told, table, picture])


def _guesses(result: Result, case: str) -> bool:
    items, chance = result.values(case, "test_items")[0], 1 / CLASSES[result.settings["task"]]
    return guesses(mean_score(result, case), items, chance)


def _limit(results: Sequence[Result], folder: Path) -> str:
    rows = [
        [
            result.settings["task"],
            charts.trained(result),
            f"{result.settings['limit']:,}",
            result.values("ours", "precision")[0],
            _gigaflops(result.spread("ours", "rate")),
            _gigaflops(Spread.of(_products_alone(result)[0])) if tells_products(result) else "",
            _gigaflops(Spread.of([_limit_rate(sample.values) for sample in result.samples["ours"]])),
            _write(result.spread("ours", "share"), *FORMS["share"]),
        ]
        for result in results
    ]
    head = [
        "task",
        "method",
        "examples",
        "precision",
        "step, GFLOP/s",
        "its products alone",
        "matmul, GFLOP/s",
        "share",
    ]
    explanation = (
        "Operations of matrix products, convolutions and attention in one training step, forward and backward, over "
        "the time of the step with everything in it, against the best square matrix product in the same process. "
        "Kernels are prepared before. Where matrix products are most of a step's work, each of them was repeated by "
        "itself too, at its best of a few times. A linear probe's step is its head on frozen activations: next to "
        "nothing."
    )
    picture = _picture(charts.limits(results), folder, "limit")
    return "\n\n".join(["## Against the machine's limit", explanation, _table(head, rows), picture])


def tells_products(result: Result) -> bool:
    """Whether a step's matrix products were repeated by themselves, and are most of its work."""
    return all(
        sample.values.get("product_operations", 0) * 2 > sample.values["operations"]
        for sample in result.samples["ours"]
    )


def _products_alone(result: Result) -> tuple[list[float], list[dict[str, Any]]]:
    """Operations a second of a step's matrix products by themselves, and the values that they are among."""
    found = [sample.values for sample in result.samples["ours"]]
    return [values["product_operations"] / values["product_seconds"] for values in found], found


def _limit_rate(values: Mapping[str, Any]) -> float:
    """The machine's matrix rate in the precision of a step."""
    return float(values["matmul_rates"][values["precision"]])


def _growth(results: Sequence[Result], folder: Path) -> str:
    measured = {result.name: result for result in results}
    rows = [
        _growth_row(measured[name]) if name in measured else [axis.title, "not measured", *[""] * 4]
        for name, axis in AXES.items()
    ]
    explanation = (
        "Slopes of straight lines through the logarithms: where the slope is one, twice the size takes twice the time. "
        "What a training takes whatever its size makes them flatter, so that of the last step stands beside them, "
        "between the two largest sizes. "
        f"One epoch of full fine-tuning on film reviews; of {_usual_limit(growth.length)} where the length or the "
        f"width grows, and of {_usual_limit(growth.runs)}, by a linear probe and LoRA with ever more seeds, where the "
        "number of runs does. Added memory is the process's peak less what it held before the training."
    )
    if any(result.name == "methods" for result in results):
        explanation += (
            f" Methods are compared with {growth.METHOD_SEEDS} seeds each on {_usual_limit(growth.methods)} reviews, "
            f"and join in this order: {', '.join(growth.ALIKE)}. All pass through every block and train little, so "
            "that one more costs about what another does."
        )
    table = _table(["size", "range", "slope of time", "last step", "slope of added memory", "last step"], rows)
    return "\n\n".join(["## Growth", explanation, table, _picture(charts.growths(results), folder, "growth")])


def _growth_row(result: Result) -> list[str]:
    sizes = charts.growth_sizes(result)
    slopes = []
    for key, *_ in charts.GROWTH_ROWS:
        medians = [spread.median for spread in charts.growth_values(result, key)]
        slopes += [f"{slope(sizes, medians):.2f}", f"{slope(sizes[-2:], medians[-2:]):.2f}"]
    return [AXES[result.name].title, f"{min(sizes):.0f} to {max(sizes):.0f}", *slopes]


def _usual_limit(grow: Callable[..., growth.Point]) -> int:
    """Training examples that an axis of growth takes unless told otherwise."""
    return int(inspect.signature(grow).parameters["limit"].default)


def _memory(results: Sequence[Result], folder: Path) -> str:
    rows = []
    for result in results:
        for case, samples in result.samples.items():
            if case == "lessons":
                rows += [
                    [f"lesson {name}", f"{facts['peak_memory_megabytes']:,} MB", f"{facts['seconds']} s"]
                    for name, facts in samples[0].values.items()
                    if facts
                ]
            elif not case.startswith("composition"):
                rows.append(
                    [
                        f"`{' '.join(['ftkit demo', *result.settings['options']])}`",
                        _bytes(result.memory(case)),
                        _seconds(Spread.of([sample.seconds for sample in samples])),
                    ]
                )
    parts = ["## Memory of whole processes", _table(["process", "peak memory", "time"], rows)]
    return "\n\n".join([*parts, *_demo_runs(results), *_composition(results)])


EARLIER = "the downloads and what earlier runs had prepared of them, kept activations excepted"
"""What a demo had at its start before that was written down."""


def _demo_runs(results: Sequence[Result]) -> list[str]:
    """Say where the time and the memory of the whole demo go."""
    demos = [sample for result in results for sample in result.samples.get("demo", [])[:1]]
    if not demos:
        return []
    (demo,) = demos
    runs = demo.values["runs"]
    examples = next(_examples_of_demo(result) for result in results if "demo" in result.samples)
    rows = [
        [
            run["task"],
            f"{examples[run['task']]:,}",
            method_style(run["method"]).title,
            f"{run['seconds']:.0f} s",
            f"{run['evaluation_seconds']:.0f} s",
            f"{run['peak_memory_bytes'] / 1e6:,.0f} MB",
        ]
        for run in sorted(runs, key=lambda run: (run["task"], list(METHOD_STYLES).index(run["method"])))
    ]
    head = ["task", "examples", "method", "training", "validation and test", "peak memory of the run"]
    rest = demo.seconds - sum(run["seconds"] + run["evaluation_seconds"] for run in runs)
    told = (
        f"The demo began with {demo.values.get('began_with', EARLIER)}. Of the {demo.seconds:.0f} s of its first run, "
        f"{rest:.0f} s are loading libraries in a process for each task, the tasks' data and baselines, saving, and "
        "the report; the others go here:"
    )
    return [told, _table(head, rows)]


def _composition(results: Sequence[Result]) -> list[str]:
    """Say what the memory of a process is made of, for full fine-tuning on each task."""
    found = {
        case.removeprefix("composition "): samples[0].values["reached"]
        for result in results
        for case, samples in result.samples.items()
        if case.startswith("composition")
    }
    if not found:
        return []
    stages = list(next(iter(found.values())))
    rows = [[stage, *(f"{reached[stage] / 1e6:,.0f} MB" for reached in found.values())] for stage in stages]
    examples = inspect.signature(memory.composition).parameters["limit"].default
    title = (
        f"What the memory of a process is made of (full fine-tuning on {examples} examples): what is resident once "
        "each thing is there:"
    )
    return [title, _table(["", *found], rows)]


def _start(results: Sequence[Result], folder: Path) -> str:
    compared = (IMPORTED_AT_ONCE, NEW_CACHE)
    rows = [
        [program, *(_seconds(result.spread(case, "start_seconds")) if case in result.samples else "" for case in cases)]
        for result in sorted(results, key=lambda result: list(start.PROGRAMS).index(next(iter(result.samples))))
        for program in [next(iter(result.samples))]
        for cases in [(program, *compared)]
    ]
    told = (
        "From the start of a process to the printed `ftkit --help`, to the end of `import ftkit`, and to the first "
        f"step of full fine-tuning on {start.EXAMPLES} film reviews, pictures or recordings, or of LoRA. Heavy "
        "libraries are imported on first use; beside it, everything that the package imports anywhere was imported "
        "first, as if all of it stood at the top of its files. Precision was chosen and data prepared before; in the "
        "last column, by the program itself."
    )
    return "\n\n".join(["## Start", told, _table(["to", "time", *compared], rows)])


WHERE_IT_GOES = {
    "memory": "What each of its runs takes stands under [Memory of whole processes](#memory-of-whole-processes).",
    "grid": "What each of its methods takes stands under [A whole comparison](#a-whole-comparison).",
}
"""Where a page tells what a missed target's time is made of, by part; of others the profile does."""
SECTIONS: dict[str, Callable[[Sequence[Result], Path], str]] = {
    "peers": _peers,
    "grid": _grid,
    "ablation": _ablation,
    "limit": _limit,
    "growth": _growth,
    "memory": _memory,
    "start": _start,
}
"""The sections of the page in their order, by part."""


# --- how things are written


def _picture(figure: DescribedFigure, folder: Path, name: str) -> str:
    write_bytes(folder / f"{name}.png", as_png(figure))
    return f"![{figure.ftkit_alt}]({name}.png)"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sizes(result: Result, case: str) -> list[str]:
    """What `SIZES` heads: training examples, test items, repetitions."""
    examples = result.settings.get("limit") or TASKS[result.settings["task"]].default_train
    items = result.values(case, "test_items")[0]
    return [f"{examples:,}", f"{items:,}", str(len(result.samples[case]))]


FORMS: dict[str, tuple[Callable[[float], str], str]] = {
    "ratio": ("{:.3f}".format, ""),
    "share": (lambda value: f"{100 * value:.0f}", " %"),
    "bytes": (lambda value: f"{value / 1e6:,.0f}", " MB"),
    "seconds": (lambda value: f"{value:,.1f}" if value >= 1 else f"{value:.2f}", " s"),
}
"""How a value is written, and the unit behind it."""


def _amount(value: Value) -> str:
    return _write(value.spread, *FORMS[value.unit])


def _write(spread: Spread, form: Callable[[float], str], unit: str = "") -> str:
    middle = f"{form(spread.median)}{unit}"
    return middle if spread.count == 1 else f"{middle} ({form(spread.low)} to {form(spread.high)})"


def _seconds(spread: Spread) -> str:
    return _write(spread, *FORMS["seconds"])


def _ratio(spread: Spread) -> str:
    return _write(spread, *FORMS["ratio"])


def _bytes(spread: Spread) -> str:
    return _write(spread, *FORMS["bytes"])


def _gigaflops(spread: Spread) -> str:
    return _write(spread, lambda value: f"{value / 1e9:.0f}")


def _place(result: Result) -> tuple[str, int]:
    """Order results by task, and methods as everywhere else."""
    order = [*METHOD_STYLES, *AXES]
    kind = result.name if result.part == "growth" else result.settings.get("method")
    return str(result.settings.get("task", "")), order.index(kind) if kind in order else len(order)


def _dates(results: Sequence[Result]) -> str:
    days = sorted({result.created[:10] for result in results})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _different(items: Sequence[dict]) -> list[dict]:
    return [item for position, item in enumerate(items) if item not in items[:position]]
