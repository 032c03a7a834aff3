"""The page of the recorded experiments: every number and figure on it is computed from the records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

from evidence_check import Checked, on_one_core, seconds_in_all

from ftkit import figures
from ftkit.errors import FtkitError
from ftkit.evaluation import paired_against
from ftkit.experiments.claims import Judgement, judge_all, load_claims
from ftkit.experiments.crossing import crossing_table
from ftkit.experiments.experiment import Experiment
from ftkit.experiments.fairness import Fairness, ledgers, ledgers_by_data, rates_in_words
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.machine import Machine
from ftkit.experiments.mistakes import mistaken_items
from ftkit.experiments.papers import CHECKED, cards_from_records, load_papers
from ftkit.experiments.papers import title as title_of_paper
from ftkit.experiments.record import Outcome, Record, from_digits
from ftkit.experiments.scoring import best_on_validation, mean_test_score, tables_by_seed
from ftkit.experiments.trials import Trials
from ftkit.figures import DescribedFigure
from ftkit.figures.records import variants
from ftkit.methods import METHODS
from ftkit.paths import write_bytes, write_text
from ftkit.tasks import TASKS

PAGE = "README.md"
FIGURES = "figures"
Draw = Callable[[Record], DescribedFigure]
INTRODUCTION = """# Evidence

Written by `python tools/evidence.py page` from the files beside it. An experiment is a question and a declared set of
trainings; its record in [experiments](experiments) holds every training with its answers, so that all scores, intervals
and verdicts here are computed and none is typed. `make evidence` makes what is missing and writes this page again,
`make evidence-check` trains a sample again and compares.

After the experiments come the [claims](#claims) that they decide, [published figures](#you-against-the-paper) beside
ours, and [how all of it was made](#machine)."""
ELSEWHERE = """## Elsewhere

- [bench](bench/README.md): time and memory, beside the scripts that people write today.
- [tuning](tuning): the trials from which every method's usual learning rate comes."""


def checks(folder: Path) -> Path:
    """Where the evidence keeps what came of training some of it again."""
    return folder / "checks"


def write_page(folder: Path) -> Path:
    """Write the page and its figures into the folder of the evidence, and return the page's path."""
    records = {
        name: Record.load(path) for name in EXPERIMENTS if (path := folder / "experiments" / f"{name}.json").is_file()
    }
    (folder / "experiments").mkdir(parents=True, exist_ok=True)  # nothing may have been made yet
    judgements = list(judge_all(load_claims(), folder / "experiments"))
    drawn: dict[str, DescribedFigure] = {}
    trials = [Trials.load(path) for path in sorted((folder / "tuning").glob("*.json"))]
    sections = [INTRODUCTION, overview(records)]
    for name, record in records.items():
        made = dict(figures_of(record))
        drawn |= made
        given = ledgers(record, folder / "tuning")
        sections.append(section(EXPERIMENTS[name], made, "" if given else rates_in_words(EXPERIMENTS[name])))
        sections.append(decided([each for each in judgements if each.claim.experiment == name]))
        if name == OVER_SIZES:
            sections.append(crossings(record))
        if name in OVER_DATA:
            sections.append(warned(ledgers_by_data(record, folder / "tuning")))
        if name in FORGETTING:
            sections += [forgotten(record, task) for task in TASKS if task in record.tests]
        for task in (task for task in TASKS if task in given):
            if name in COSTS:
                sections += [costs(record, task), differences(record, task), told_apart(record, task)]
            sections.append(ledger(given[task], task))
    if any(each.verdict != "not measured" for each in judgements):
        drawn |= figures_of_claims(judgements)
    again = [Checked.load(path) for path in sorted(checks(folder).glob("*.json"))]
    sections += [
        claims(judgements, drawn),
        papers(folder / "experiments"),
        machines(list(records.values())),
        computing(records, trials),
        trained_again(again, records, trials),
        ELSEWHERE,
    ]
    for stale in (folder / FIGURES).glob("*.png"):
        if stale.stem not in drawn:
            stale.unlink()
    for name, figure in drawn.items():
        write_bytes(folder / FIGURES / f"{name}.png", figures.as_png(figure))
    write_text(folder / PAGE, "\n\n".join(filter(None, sections)) + "\n")
    return folder / PAGE


# --- the sections


def machines(records: Sequence[Record]) -> str:
    """Name the machines and the versions that trainings were made with, and the experiments they are of."""
    made: dict[str, dict[str, int]] = {}
    for record in records:
        for outcome in record.outcomes:
            counts = made.setdefault(described(record.machines[outcome.machine]), {})
            counts[record.experiment] = counts.get(record.experiment, 0) + 1
    lines = [
        f"- {machine} Trainings: {', '.join(f'{name} {count}' for name, count in counts.items())}."
        for machine, counts in made.items()
    ]
    return "\n".join(["## Machine", "", *lines]) if lines else ""


def described(machine: Machine) -> str:
    """Write a machine and its versions in one sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.processor}, cores: {machine.cores}, threads: {machine.threads}, {machine.memory_bytes / 1e9:.0f} GB "
        f"of memory, {machine.system}, Python {machine.python}; {versions}."
    )


def overview(records: dict[str, Record]) -> str:
    """One row an experiment, recorded or not: how many of its trainings are done, how long, when, by which commit."""
    rows = [
        [
            f"[{name}](#{anchor(experiment)})" if name in records else name,
            experiment.question,
            *done(experiment, records.get(name)),
        ]
        for name, experiment in EXPERIMENTS.items()
    ]
    head = ["experiment", "question", "trainings", "training, s", "with all else, s", "made", "commit"]
    remark = (
        "Some commits were rewritten later and are no longer in the history; a plus says that files were changed "
        "beside the commit, *not kept* that early records did not name theirs."
    )
    return "\n\n".join(["## Experiments", table(head, rows), remark])


def done(experiment: Experiment, record: Record | None) -> list[str]:
    """Trainings done of those declared, their seconds, those of all else with them, their days, and the commits.

    Those that a change of the trials has overtaken are to be made again, and are not done.
    """
    declared = len(experiment.conditions)
    if record is None:
        return [f"0 of {declared}", "", "", "", ""]
    made = [outcome for outcome in record.outcomes if outcome.condition in experiment.conditions]
    days = sorted({outcome.created for outcome in made if outcome.created})
    when = " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""
    commits = dict.fromkeys(outcome.commit or "not kept" for outcome in made)
    training = f"{sum(outcome.seconds for outcome in made):,.0f}"
    everything = f"{sum(outcome.total_seconds or outcome.seconds for outcome in made):,.0f}"
    if not all(outcome.total_seconds for outcome in made):
        everything = f"over {everything}"
    current = sum(outcome.is_up_to_date for outcome in made)
    overtaken = f", {len(made) - current} more at rates of earlier trials" if current < len(made) else ""
    return [f"{current} of {declared}{overtaken}", training, everything, when, ", ".join(commits)]


def computing(records: dict[str, Record], searches: Sequence[Trials]) -> str:
    """How long it takes to make all of it anew, by what each part took."""
    outcomes = all_on_one_core(records)
    if not outcomes:
        return ""
    made = different(outcomes)
    timed = [outcome for outcome in made if outcome.total_seconds]
    rest = seconds_beside(made)
    training = sum(outcome.seconds for outcome in made)
    everything = sum(outcome.total_seconds or outcome.seconds + rest for outcome in made)
    trials = [trial for search in searches for trial in search.trials]
    tried = sum(trial.seconds for trial in trials)
    estimated = (
        f" (of {len(made) - len(timed):,} only the training itself was timed; {rest:.0f} s are added for each, what "
        "the others needed beside it on average)"
        if len(timed) < len(made)
        else ""
    )
    return (
        f"Experiments share trainings: the {len(outcomes):,} are {len(made):,} different ones. On one core each these "
        f"took {training / 3600:.1f} hours of training, {everything / 3600:.1f} with all else{estimated}; the "
        f"{len(trials):,} trials of learning rates took {tried / 3600:.1f}. Two at a time that is "
        f"{(everything + tried) / 7200:.1f} hours."
    )


def all_on_one_core(records: dict[str, Record]) -> list[Outcome]:
    """All outcomes of all records, their seconds times the threads that they were of."""
    return [on_one_core(record, outcome) for record in records.values() for outcome in record.outcomes]


def different(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One outcome of every training, the one that took longest where experiments share it."""
    longest_last = sorted(outcomes, key=lambda outcome: outcome.total_seconds)
    return list({outcome.training: outcome for outcome in longest_last}.values())


def seconds_beside(outcomes: Sequence[Outcome]) -> float:
    """Mean of what a training without further measures takes beside the training itself."""
    beside = [
        outcome.total_seconds - outcome.seconds
        for outcome in outcomes
        if outcome.total_seconds and not outcome.measures
    ]
    return mean(beside) if beside else 0.0


def seconds_by_task(records: dict[str, Record], searches: Sequence[Trials]) -> dict[str, float]:
    """Sum up by task what `computing` tells of, in seconds of one core."""
    made = different(all_on_one_core(records))
    rest = seconds_beside(made)
    taken: dict[str, float] = {}
    for outcome in made:
        task = outcome.condition.task
        taken[task] = taken.get(task, 0.0) + (outcome.total_seconds or outcome.seconds + rest)
    for search in searches:
        taken[search.task] = taken.get(search.task, 0.0) + sum(trial.seconds for trial in search.trials)
    return taken


def trained_again(found: Sequence[Checked], records: dict[str, Record], searches: Sequence[Trials]) -> str:
    """What came of training some of it again, and how long all of it would take at that pace."""
    if not found:
        return ""
    lines = [
        f"- {each.created}, commit {each.commit or 'not kept'}: {each.in_words}. {described(each.machine)}"
        for each in found
    ]
    paces: dict[str, dict[str, float]] = {}
    for processor in dict.fromkeys(each.machine.processor for each in found):
        paces[processor] = pace([each for each in found if each.machine.processor == processor], records)
    recorded = seconds_by_task(records, searches)
    head = (
        "## Trained again\n\nSome of the recorded trainings were made anew, drawn at random from the cheapest quarter "
        "of every experiment. *As another seed*: the repeat gave other answers, since rounding decides an unstable "
        "training, but its score is one that other seeds have."
    )
    told = [pace_in_words(processor, shares, recorded) for processor, shares in paces.items() if shares]
    return "\n\n".join([head, "\n".join(lines), *told])


def pace(found: Sequence[Checked], records: dict[str, Record]) -> dict[str, float]:
    """Share of the recorded time that repeats took, by task; without those whose record was made anew since."""
    recorded = all_on_one_core(records)
    as_recorded = {(outcome.training, seconds_in_all(outcome)): outcome.condition.task for outcome in recorded}
    then: dict[str, float] = {}
    now: dict[str, float] = {}
    for each in (timed for checked in found for timed in checked.timed):
        task = as_recorded.get((each.training, each.recorded_seconds))
        if task is not None:
            then[task] = then.get(task, 0.0) + each.recorded_seconds
            now[task] = now.get(task, 0.0) + each.seconds
    return {task: now[task] / then[task] for task in TASKS if task in then}


def pace_in_words(processor: str, shares: dict[str, float], recorded: dict[str, float]) -> str:
    """How much of the recorded time a processor took, and what all would take it, where every task was repeated."""
    told = (
        "Beside what was recorded, on other days, partly by an older kit and another processor, the repeats on the "
        f"{processor} took these shares of the time: "
        f"{', '.join(f'{share:.2f} on {TASKS[task].title.lower()}' for task, share in shares.items())}."
    )
    if shares.keys() != recorded.keys():
        return told
    hours = sum(seconds * shares[task] for task, seconds in recorded.items()) / 7200
    return (
        f"{told} At that pace all of the evidence takes {hours:.1f} hours, two at a time. The whole may take less "
        "than that: a repeat may have to compute what trainings on the same data share, and weighs most in cheap ones."
    )


def section(experiment: Experiment, drawn: dict[str, DescribedFigure], rates: str) -> str:
    """An experiment with its question, its figures, and where its learning rates come from where no ledger says so."""
    shown = [picture(name, figure) for name, figure in drawn.items()]
    return "\n\n".join(
        filter(
            None,
            [
                f"### {experiment.title}",
                experiment.question,
                trained_on(experiment),
                *(shown or ["No figure can be drawn of it yet."]),
                rates,
            ],
        )
    )


def decided(judgements: Sequence[Judgement]) -> str:
    """Answer an experiment's question by the claims that it decides, and count those that it leaves undecided."""
    lines = [
        f"- *{each.verdict}*: {each.claim.statement} {each.effect_in_words}."
        for verdict in DECIDED
        for each in judgements
        if each.verdict == verdict
    ]
    undecided = sum(each.verdict == "undecided" for each in judgements)
    told = f"- *undecided*: {undecided} of {len(judgements)}, see the [claims](#claims)." if undecided else ""
    if undecided == len(judgements):
        told = f"- No interval lies clear of its claim's margin: all {undecided} [claims](#claims) stay undecided."
    return "\n".join(filter(None, ["What it decides:\n", *lines, told])) if lines or told else ""


def trained_on(experiment: Experiment) -> str:
    """Say for each task on how many examples an experiment trains, over how many epochs and seeds."""
    told = []
    for task in TASKS:
        conditions = [each for each in experiment.conditions if each.task == task]
        if conditions:
            sizes = span([each.examples or TASKS[task].default_train for each in conditions])
            epochs = span([each.epochs or TASKS[task].default_epochs for each in conditions])
            seeds = len({each.seed for each in conditions})
            told.append(f"{TASKS[task].title}: {sizes} training examples, {epochs} epochs, {seeds} seeds.")
    return " ".join(told)


def span(numbers: Sequence[int]) -> str:
    """Write the least and the most of some numbers, or the one that they all are."""
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def crossings(record: Record) -> str:
    """Where the curve of training from scratch crosses those of the pretrained methods, or fails to; "" too early."""
    found = crossing_table(record)
    if found.empty:
        return ""
    remark = "By number of training examples; behind or ahead is what the 95 % interval of the paired difference says."
    return "\n\n".join([table(list(found.columns), found.to_numpy().tolist()), remark])


def costs(record: Record, task: str) -> str:
    """What each method scored on a task and what it cost, means over seeds."""
    rows = []
    for variant in variants(record.where(task=task)):
        seconds, memory, saved = (
            [getattr(outcome, cost) for outcome in variant.outcomes]
            for cost in ("seconds", "peak_memory_bytes", "saved_bytes")
        )
        first = variant.outcomes[0]
        rows.append(
            [
                variant.label,
                str(mean_test_score(record, variant.outcomes)),
                f"{first.trainable:,}",
                f"{100 * first.trainable / first.total:.3g} %",
                f"{mean(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})",
                f"{mean(memory) / 1e6:,.0f} MB",
                f"{mean(saved) / 1e6:,.3g} MB",
            ]
        )
    machines = len({outcome.machine for outcome in record.where(task=task)})
    title = f"What each method scored and cost: {TASKS[task].title.lower()}"
    title += f" (on {machines} machines or numbers of threads: time and memory do not compare)" if machines > 1 else ""
    head = ["method", "test score (95 % interval)", "trained", "of all", "training", "peak memory", "saved file"]
    return "\n\n".join([title, table(head, rows)])


def differences(record: Record, task: str) -> str:
    """Every method against the one that validation found best, on the same test items, corrected for their number."""
    test, by_method = record.tests[task], {name: record.where(task=task, method=name) for name in METHODS}
    made = {name: outcomes for name, outcomes in by_method.items() if outcomes}
    answers = {name: tables_by_seed(record, outcomes) for name, outcomes in made.items()}
    best = best_on_validation(made)
    tests = paired_against(best, test.metric, from_digits(test.labels), answers, test.groups)
    rows = [[METHODS[name].title, str(each)] for name, each in tests.items()]
    title = (
        f"How far from {METHODS[best].title}, which validation found best: {TASKS[task].title.lower()} (seeds and test "
        "items both vary; intervals are of each difference by itself, p is corrected for their number after Holm)"
    )
    return "\n\n".join([title, table(["method", "difference (95 % interval), p"], rows)]) if rows else ""


def told_apart(record: Record, task: str) -> str:
    """The test items on which methods disagree most, whatever the seed; empty with a single method."""
    if len({outcome.condition.method for outcome in record.where(task=task)}) < 2:
        return ""
    items = mistaken_items(record, task)
    wrong, shares = items["all methods"], items[list(items.columns[2:])]
    right_mostly, wrong_mostly = shares <= SELDOM, shares >= 1 - SELDOM
    sides = right_mostly.sum(axis=1).clip(upper=wrong_mostly.sum(axis=1)).sort_values(ascending=False, kind="stable")
    rows = [
        [
            str(item),
            str(items["class"][item]),
            *(", ".join(shares.columns[of_methods.loc[item]]) for of_methods in (right_mostly, wrong_mostly)),
        ]
        for item in sides.index[:SHOWN_ITEMS]
    ]
    title = (
        f"What methods disagree on: {TASKS[task].title.lower()} (test items by their place in the split. Of all "
        f"{len(items):,}, {(wrong == 0).sum():,} are missed by no training and {(wrong == 1).sum():,} by every one; on "
        f"{(sides > 0).sum():,} one method is right and another wrong in {1 - SELDOM:.0%} of their seeds at least)"
    )
    head = ["test item", "class", "mostly right", "mostly wrong"]
    return "\n\n".join([title, table(head, rows)])


def forgotten(record: Record, task: str) -> str:
    """What was left of the old ability on a task after each way to learn, means over seeds."""
    rows = []
    for variant in variants(record.where(task=task)):
        found = [outcome.measures["forgetting"] for outcome in variant.outcomes]
        rates = dict.fromkeys(f"{outcome.learning_rate:g}" for outcome in variant.outcomes)
        rows.append(
            [
                variant.label,
                " ".join(rates),
                *(
                    f"{mean(each[when] for each in found):.3f}" if when in found[0] else ""
                    for when in ("before", "after", "relearned", "adapter_off")
                ),
                str(mean_test_score(record, variant.outcomes)),
            ]
        )
    if not rows:
        return ""
    of = record.where(task=task)[0].measures["forgetting"]
    title = f"What is left of the old ability: {TASKS[task].title.lower()} ({of['ability']}, {of['unit']})"
    head = ["way to learn", "rate", "before", "after", "fitted anew", "update switched off", "score on the new task"]
    return "\n\n".join([title, table(head, rows)])


def papers(folder: Path) -> str:
    """Published figures beside those of the records, with what speaks for and against comparing them."""
    shown = [each for each in load_papers() if each.verified]
    hidden = len(load_papers()) - len(shown)
    cards = list(cards_from_records(shown, folder))
    rows = [
        [
            f"{title_of_paper(card.published)}: {card.published.figure}",
            " ".join([f"{card.published.setting.rstrip('.')}.", *card.published.notes]),
            f"[{card.published.source}]({card.published.link})" if card.published.link else card.published.source,
            CHECKED[card.published.checked],
            f"{card.ours.method}, {card.ours.task}: {card.ours}",
            "; ".join(map(str, card.badges)),
        ]
        for card in cards
    ]
    head = ["published", "setting", "source", "checked", "ours", "comparable?"]
    told = (
        "✓ speaks for a comparison, ✗ against it, ? is not told. Ours: the epoch is chosen on validation, the test is "
        "read once."
    )
    if hidden:
        told += f" {hidden} more figures are left out, since nobody has looked them up yet."
    return "\n\n".join(["## You against the paper", told, table(head, rows)])


def ledger(fairness: Fairness, task: str) -> str:
    """What each method was given on a task, and what a reader should be warned of."""
    facts = fairness.table().reset_index()
    rows = [[str(value) for value in row] for row in facts.itertuples(index=False)]
    title = f"What each method was given: {TASKS[task].title.lower()}"
    warnings = "\n".join(f"- {warning}" for warning in fairness.warnings())
    return "\n\n".join(filter(None, [title, table(list(facts.columns), rows), fairness.selection, warnings]))


def warned(given: dict[tuple[str, str], Fairness]) -> str:
    """What a reader should be warned of, for each set of data that an experiment trains on."""
    if not given:
        return ""
    rows = [
        [
            TASKS[task].title,
            data,
            f"{trials[0]:,}" if len(trials) == 1 else "unequal",
            " ".join(fairness.warnings()) or "nothing",
        ]
        for (task, data), fairness in given.items()
        if (trials := sorted({len(fact.rates) for fact in fairness.facts}))
    ]
    head = ["task", "trained on", "trials a method", "to be warned of"]
    return "\n\n".join(["What each method was given, and what a reader should know", table(head, rows)])


def claims(judgements: Sequence[Judgement], drawn: dict[str, DescribedFigure]) -> str:
    """The claims by group, each with the verdict that its interval gives."""
    counts = {verdict: 0 for verdict in ("holds", "does not hold here", "undecided", "not measured")}
    for judgement in judgements:
        counts[judgement.verdict] += 1
    alone = "Each is judged alone: of so many 95 % intervals some miss the truth by chance."
    parts = ["## Claims", f"{'; '.join(f'{verdict}: {count}' for verdict, count in counts.items())}. {alone}"]
    if "verdicts" in drawn:
        parts.append(picture("verdicts", drawn["verdicts"]))
    for group, members in by_group(judgements).items():
        rows = [
            [
                *(each.claim.name.replace("-", " "), each.claim.statement, each.claim.experiment),
                *(each.claim.compared, each.effect_in_words, each.claim.rule_in_words),
                *(each.verdict, each.claim.source),
            ]
            for each in members
        ]
        head = [
            *("name (as in the figure)", "claim", "experiment", "compared", "effect (95 % interval)"),
            *("holds if all of it lies", "verdict", "source"),
        ]
        parts.append(f"### {group.capitalize()}")
        if (name := claims_of(group)) in drawn:
            parts.append(picture(name, drawn[name]))
        parts.append(table(head, rows))
    return "\n\n".join(parts)


def by_group(judgements: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    """The claims of each group, groups in the order in which they come."""
    groups = dict.fromkeys(each.claim.group for each in judgements)
    return {group: [each for each in judgements if each.claim.group == group] for group in groups}


# --- the figures


def claims_of(group: str) -> str:
    """Name of the figure of a group's claims."""
    return f"claims-{group.replace(' ', '-')}"


def figures_of_claims(judgements: Sequence[Judgement]) -> dict[str, DescribedFigure]:
    """Draw how many claims hold, and the claims of each group of which some were measured."""
    measured = [each for each in judgements if each.verdict != "not measured"]
    drawn = {claims_of(group): figures.claims(members) for group, members in by_group(measured).items()}
    return {"verdicts": figures.verdicts(measured), **drawn}


def figures_of(record: Record) -> Iterator[tuple[str, DescribedFigure]]:
    """Draw what a record gives; a figure that it lacks something for is left out."""
    named = dict(ONE.get(record.experiment, {}))
    for name, draw in EACH_TASK.get(record.experiment, {}).items():
        named |= {f"{name}-{task}": partial(draw, task=task) for task in TASKS if task in record.tests}
    for name, draw in named.items():
        try:
            yield name, draw(record)
        except FtkitError as error:
            print(f"{name} is not drawn: {error}")


ONE: dict[str, dict[str, Draw]] = {
    "data-size": {"data-size": figures.data_size},
    "learning-rates": {"learning-rates": figures.learning_rates},
    "depth": {"depth": figures.depth},
    "layers": {"layers": figures.layers},
    "moved-weights": {"moved-weights": figures.moved_weights, "spectrum": figures.spectrum},
    "forgetting": {"forgetting": figures.learn_forget},
    "batch-statistics": {
        "batch-statistics": partial(figures.learn_forget, title=EXPERIMENTS["batch-statistics"].title)
    },
    "shift": {"shift": figures.corruption, "unseen-groups": figures.unseen_groups},
    "other-kind": {"other-kind": figures.other_kind},
}
"""Figures of whole records, by experiment and by the name of their file."""
OVER_SIZES = "data-size"
"""The experiment whose conditions differ in the number of training examples."""
COSTS = ("methods",)
"""Experiments of which it is told what each method cost, and how far from the best it scored."""
DECIDED = ("holds", "does not hold here")
"""Verdicts that answer something."""
OVER_DATA = ("data-size", "label-noise")
"""Experiments that give every method the same data, of several amounts or kinds."""
FORGETTING = ("forgetting", "batch-statistics")
"""Experiments that ask what is left of an old ability."""
SHOWN_ITEMS = 8
"""Test items that the page names, of each task."""
SELDOM = 0.2
"""A method is mostly right on an item if no larger share of its trainings gets it wrong, and mostly wrong likewise."""
EACH_TASK: dict[str, dict[str, Callable[..., DescribedFigure]]] = {
    "methods": {
        "methods-trainable": partial(figures.pareto, cost="trainable"),
        "methods-seconds": partial(figures.pareto, cost="seconds"),
        "methods-memory": partial(figures.pareto, cost="peak_memory_bytes"),
        "methods-saved": partial(figures.pareto, cost="saved_bytes"),
        "mistakes": figures.mistakes,
    },
    "regularizers": {"regularizers": figures.regularizers},
    "label-noise": {"label-noise": figures.label_noise},
    "sizes": {"sizes": figures.sweeps},
}
"""Figures of one task, drawn for every task of the record."""


# --- how things are written


def picture(name: str, figure: DescribedFigure) -> str:
    """Show a figure with its description."""
    return f"![{figure.ftkit_alt}]({FIGURES}/{name}.png)"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table; every row has as many cells as the head."""
    assert {len(row) for row in rows} <= {len(head)}, head
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def anchor(experiment: Experiment) -> str:
    """Where the heading of an experiment is linked to."""
    kept = "".join(letter for letter in experiment.title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")
