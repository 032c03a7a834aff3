"""What each method of a comparison was given, and where that was unequal."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftkit.errors import FtkitError
from ftkit.evaluation import METRICS
from ftkit.experiments.trials import kit_trials
from ftkit.methods import METHODS, Method, as_method
from ftkit.methods.base import in_words
from ftkit.tasks import TASKS

if TYPE_CHECKING:
    import pandas

    from ftkit.experiments.experiment import Experiment
    from ftkit.experiments.record import Outcome, Record
    from ftkit.experiments.run import Run
    from ftkit.experiments.trials import Trial, Trials


@dataclass(frozen=True)
class MethodFacts:
    """What one method was given.

    Attributes
    ----------
    method
        Its name.
    rates
        Learning rates that were tried on validation, with any settings.
    settings_tried
        How many choices of the method's settings were tried.
    settings
        Those of the runs that differ from the method's usual ones.
    learning_rate
        The one that the runs used.
    tried_on, tried_epochs
        Numbers of training examples and of epochs that the trials had.
    best_on_validation
        Whether that is the rate that scored best on validation of those tried with these settings; None where none was.
    best_settings
        Whether no other settings that were tried scored better on validation.
    at_edge
        Whether that is the lowest or highest tried, so that a better one may lie beyond.
    settings_at_edge
        Names of the settings of which the runs have the least or the most that was tried.
    seeds, epochs, train_examples
        As the runs had them.
    test_readings
        How often models of one seed were asked about the test split, at most; once where nothing was chosen by it.
    trainable, head
        Parameters that trained, head included, and the head's.
    processors
        Names of those that the runs were made on.
    """

    method: str
    rates: tuple[float, ...]
    settings_tried: int
    settings: dict[str, Any]
    learning_rate: float
    tried_on: tuple[int, ...]
    tried_epochs: tuple[int, ...]
    best_on_validation: bool | None
    best_settings: bool
    at_edge: bool
    settings_at_edge: tuple[str, ...]
    seeds: int
    epochs: int
    train_examples: int
    test_readings: int
    trainable: int
    head: int
    processors: tuple[str, ...]


@dataclass(frozen=True)
class Fairness:
    """The facts of all methods, and what a reader should be warned of.

    Attributes
    ----------
    metric
        Name of the metric that chose learning rates and epochs, on the validation split.
    facts
        One entry a method.
    """

    metric: str
    facts: Sequence[MethodFacts]

    def warnings(self) -> list[str]:
        """Say in plain words where methods were treated differently or a search may have stopped too early."""
        found = []
        for name, what in (("rates", "trials"), ("seeds", "seeds"), ("epochs", "epochs")):
            counts = {fact.method: _count(getattr(fact, name)) for fact in self.facts}
            if len(set(counts.values())) > 1:
                listing = ", ".join(f"{method} {count}" for method, count in counts.items())
                found.append(f"Unequal number of {what}: {listing}.")
        if len({fact.train_examples for fact in self.facts}) > 1:
            found.append("The methods trained on different numbers of examples.")
        found += self._tried_otherwise("on", "tried_on", "train_examples", "examples")
        found += self._tried_otherwise("over", "tried_epochs", "epochs", "epochs")
        found += self._selection_on_test()
        untried = [fact.method for fact in self.facts if fact.learning_rate not in fact.rates]
        if untried:
            found.append(f"Learning rate not among the recorded trials: {', '.join(untried)}.")
        edges = [fact.method for fact in self.facts if fact.at_edge]
        if edges:
            found.append(
                f"Best learning rate at the edge of the range tried, a better one may lie beyond: {', '.join(edges)}."
            )
        settings = [
            f"{fact.method} ({', '.join(fact.settings_at_edge)})"
            for fact in self.facts
            if fact.settings_at_edge and fact.best_settings
        ]
        if settings:
            found.append(
                "Best setting the least or the most of those tried, a better one may lie beyond: "
                f"{', '.join(settings)}."
            )
        given = [fact.method for fact in self.facts if not fact.best_settings]
        if given:
            found.append(f"Other settings scored better on validation than those used: {', '.join(given)}.")
        found += self._other_processors()
        found += self._parameters()
        return found

    def _selection_on_test(self) -> list[str]:
        """Say where the test split may have chosen: it was read more often than once, or validation chose otherwise."""
        often = [f"{fact.method} {fact.test_readings} times" for fact in self.facts if fact.test_readings > 1]
        tried = [fact for fact in self.facts if fact.learning_rate in fact.rates]
        unchosen = [fact.method for fact in tried if fact.best_on_validation is False]
        found = []
        if often:
            found.append(
                f"The test split was read for several trainings of one seed ({', '.join(often)}): to take the best of "
                "them would be selection on the test."
            )
        if unchosen:
            found.append(
                f"Not the learning rate that scored best on validation: {', '.join(unchosen)}. If the test score chose "
                "it, that score is flattered."
            )
        return found

    def _parameters(self) -> list[str]:
        """Say how far apart the methods' budgets of parameters lie; the head is a part of all of them."""
        counts = {fact.method: fact.trainable for fact in self.facts}
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[least] == counts[most]:
            return []
        return [
            f"Different numbers of trained parameters, head included: from {counts[least]:,} ({least}) to "
            f"{counts[most]:,} ({most})."
        ]

    def _other_processors(self) -> list[str]:
        """Say whose runs were made on other processors, so that times are no fair comparison."""
        methods: dict[str, list[str]] = {}
        for fact in self.facts:
            methods.setdefault(" and ".join(fact.processors), []).append(fact.method)
        if len(methods) < 2:
            return []
        listing = "; ".join(f"on {processor}: {', '.join(names)}" for processor, names in methods.items())
        return [f"Trained on different processors, so their seconds can't be compared: {listing}."]

    def _tried_otherwise(self, word: str, tried_name: str, given_name: str, unit: str) -> list[str]:
        """Say whose learning rates were tried on more or less of something than they trained on."""
        methods: dict[tuple[tuple[int, ...], int], list[str]] = {}
        for fact in self.facts:
            tried, given = getattr(fact, tried_name), getattr(fact, given_name)
            if tried and tried != (given,):
                methods.setdefault((tried, given), []).append(fact.method)
        return [
            f"Learning rates were tried {word} {' and '.join(f'{count:,}' for count in tried)} {unit}, the training "
            f"had {given:,}, where another rate may be the best: {', '.join(names)}."
            for (tried, given), names in methods.items()
        ]

    def table(self) -> pandas.DataFrame:
        """One row a method."""
        import pandas

        rows = []
        for fact in self.facts:
            rows.append(
                {
                    **asdict(fact),
                    "method": METHODS[fact.method].title,
                    "trials": len(fact.rates),
                    "rates": ", ".join(f"{rate:g}" for rate in sorted(set(fact.rates))),
                    "settings": in_words(fact.settings) or "usual",
                    "learning_rate": f"{fact.learning_rate:g}",
                    "at_edge": "yes" if fact.at_edge else "no",
                    "adapted": f"{fact.trainable - fact.head:,}",
                    "head": f"{fact.head:,}",
                }
            )
        hidden = [
            "trainable",
            "tried_on",
            "tried_epochs",
            "processors",
            "best_on_validation",
            "best_settings",
            "settings_at_edge",
            "test_readings",
        ]
        table = pandas.DataFrame(rows).drop(columns=hidden)
        table.insert(1, "trials", table.pop("trials"))
        titles = {
            "rates": "rates tried",
            "settings_tried": "settings tried",
            "settings": "settings used",
            "learning_rate": "rate used",
            "at_edge": "at the edge",
            "train_examples": "training examples",
            "adapted": "trained, head apart",
        }
        return table.rename(columns=titles).set_index("method")

    @property
    def selection(self) -> str:
        """One sentence on what selected on what, as far as the trials and the runs tell."""
        title = METRICS[self.metric].title
        chosen = "epochs"
        if all(fact.best_on_validation for fact in self.facts):
            settings = any(fact.settings_tried > 1 for fact in self.facts) and all(
                fact.best_settings for fact in self.facts
            )
            chosen = "learning rates, settings and epochs" if settings else "learning rates and epochs"
        once = all(fact.test_readings == 1 for fact in self.facts)
        read = "; the test split was read once, at the end of each run" if once else ""
        return f"{title} on the validation split chose {chosen}{read}."

    def __repr__(self) -> str:
        return "\n".join([self.table().to_string(), self.selection, *self.warnings()])

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(line, quote=False)}</p>" for line in (self.selection, *self.warnings()))
        return self.table().to_html() + lines


def method_facts(name: str, runs: Sequence[Run], trials: Trials | None) -> MethodFacts:
    """Collect what one method of a comparison was given."""
    first = runs[0]
    return with_trials(
        as_method(name, **first.spec.settings),
        trials,
        learning_rate=first.spec.learning_rate,
        seeds=len(runs),
        epochs=first.spec.epochs,
        train_examples=first.spec.train_examples,
        test_readings=_most_of_a_seed(run.spec.seed for run in runs),
        trainable=first.cost.trainable,
        head=first.cost.head,
        processors=tuple(sorted({run.machine.processor for run in runs})),
    )


def record_fairness(record: Record, task: str, trials: Trials | None) -> Fairness:
    """Collect what each method was given in an experiment that has one set of trainings a method on a task.

    Parameters
    ----------
    record
        The experiment's outcomes; what a linear probe trains in it is the head.
    task
        Name of the task.
    trials
        From which the trainings took their learning rates; None where they took none.

    Raises
    ------
    FtkitError
        If the record has no linear probe on the task, or a method was trained there in several settings, at several
        learning rates or on several data.
    """
    by_method: dict[str, list[Outcome]] = {name: record.where(task=task, method=name) for name in METHODS}
    if not by_method["linear-probe"]:
        raise FtkitError(f"{record.experiment} has no linear probe on {task}, so that the head's size is not known.")
    for name, outcomes in by_method.items():
        if len(set(map(_way, outcomes))) > 1:
            raise FtkitError(f"{record.experiment} trains {name} on {task} in several ways; one line can't tell them.")
    head = by_method["linear-probe"][0].trainable
    facts = [
        with_trials(
            as_method(name, **outcomes[0].condition.settings),
            trials,
            learning_rate=outcomes[0].learning_rate,
            seeds=len({outcome.condition.seed for outcome in outcomes}),
            epochs=outcomes[0].epochs,
            train_examples=outcomes[0].condition.examples or TASKS[task].default_train,
            test_readings=_most_of_a_seed((each.condition.data, each.condition.seed) for each in outcomes),
            trainable=outcomes[0].trainable,
            head=head,
            processors=tuple(sorted({record.machines[outcome.machine].processor for outcome in outcomes})),
        )
        for name, outcomes in by_method.items()
        if outcomes
    ]
    return Fairness(record.tests[task].metric, facts)


def _way(outcome: Outcome) -> tuple[object, ...]:
    """How a training of an experiment was made, its seed apart."""
    condition = outcome.condition
    made = str(condition.settings), str(condition.options), outcome.learning_rate, outcome.epochs
    return *made, condition.data_in_words


def ledgers(record: Record, trials_folder: Path | None = None) -> dict[str, Fairness]:
    """Ledgers of an experiment, by task: of those tasks on which it has one set of trainings a method.

    Parameters
    ----------
    record
        Its outcomes.
    trials_folder
        See `kit_trials`.
    """
    found = {}
    for task in dict.fromkeys(outcome.condition.task for outcome in record.outcomes):
        with contextlib.suppress(FtkitError):
            examples = record.where(task=task)[0].condition.examples or TASKS[task].default_train
            found[task] = record_fairness(record, task, kit_trials(task, examples, trials_folder))
    return found


def ledgers_by_data(record: Record, trials_folder: Path | None = None) -> dict[tuple[str, str], Fairness]:
    """Ledgers of an experiment that trains on several amounts or kinds of data, by task and data in words.

    Parameters
    ----------
    record, trials_folder
        See `ledgers`.
    """
    alike: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in record.outcomes:
        alike.setdefault((outcome.condition.task, outcome.condition.data_in_words), []).append(outcome)
    found = {}
    for (task, data), outcomes in alike.items():
        of_these = ledgers(replace(record, outcomes=tuple(outcomes)), trials_folder)
        if task in of_these:
            found[task, data] = of_these[task]
    return found


def rates_in_words(experiment: Experiment) -> str:
    """Say which methods of an experiment train at the rate that validation chose, which at rates that it declares.

    Examples
    --------
    >>> from ftkit.experiments.library import EXPERIMENTS
    >>> rates_in_words(EXPERIMENTS["data-size"])
    'Learning rates chosen on validation: scratch, linear-probe, full, lora.'
    """
    chosen: dict[str, None] = {}
    declared: dict[str, dict[float, None]] = {}
    for condition in experiment.conditions:
        if condition.learning_rate is None:
            chosen[condition.method] = None
        else:
            declared.setdefault(condition.method, {})[condition.learning_rate] = None
    of_methods = [f"{name} {', '.join(f'{rate:g}' for rate in rates)}" for name, rates in declared.items()]
    parts = [
        f"chosen on validation: {', '.join(chosen)}" if chosen else "",
        f"declared: {'; '.join(of_methods)}" if declared else "",
    ]
    return f"Learning rates {'; '.join(filter(None, parts))}."


def with_trials(method: Method, trials: Trials | None, **given: Any) -> MethodFacts:
    """Put what was tried for a method beside what it was given.

    Parameters
    ----------
    method
        With the settings of its runs.
    trials
        None where none were made.
    given
        The fields of `MethodFacts` that the runs tell.
    """
    tried = [] if trials is None else trials.named(method.name)
    best = None if trials is None else trials.best(method)
    return MethodFacts(
        method=method.name,
        rates=tuple(trial.learning_rate for trial in tried),
        settings_tried=len({repr(as_method(trial.method, **trial.settings)) for trial in tried}),
        settings=method.unusual_settings,
        tried_on=tuple(sorted({trial.train_examples for trial in tried})),
        tried_epochs=tuple(sorted({trial.epochs for trial in tried})),
        best_on_validation=None if best is None else best.learning_rate == given["learning_rate"],
        best_settings=trials is None or trials.best_settings(method) == method,
        at_edge=trials is not None and trials.best_at_edge(method),
        settings_at_edge=tuple(name for name in method.choices if _at_edge(name, method, tried)),
        **given,
    )


def _at_edge(name: str, method: Method, tried: Sequence[Trial]) -> bool:
    """Whether a method has the least or the most of a setting that was tried; a usual value of None is neither."""
    values = {as_method(trial.method, **trial.settings).settings[name] for trial in tried} - {None}
    return len(values) > 1 and method.settings[name] in (min(values), max(values))


def _most_of_a_seed(seeds: Iterable[Hashable]) -> int:
    """How many trainings the seed has that has most."""
    return max(Counter(seeds).values())


def _count(value: object) -> int:
    return len(value) if isinstance(value, tuple) else int(str(value))
