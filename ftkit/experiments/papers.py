"""Published figures beside our own: what a paper reports, what we measured, and whether the two can be compared."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Any, Literal

from ftkit.errors import FtkitError, UnknownNameError
from ftkit.evaluation import Score, mean_score
from ftkit.experiments.record import Record, find_record
from ftkit.experiments.scoring import mean_test_score
from ftkit.paths import data_folder
from ftkit.tasks import TASKS

if TYPE_CHECKING:
    from ftkit.experiments.run import Run

Answer = Literal["yes", "no", "not stated"]
CHECKED = {
    "table": "read where it was printed",
    "inferred": "read where it was printed, the columns told apart by the numbers of parameters",
    "second-hand": "read where others print the table again",
    "abstract": "read in the abstract only",
    "memory": "from memory, not looked up",
}
"""How well a figure was checked; one from memory is never shown."""

UNVERIFIED = "unverified"
NOT_STATED: Literal["not stated"] = "not stated"
SIMILAR = 2.0
"""Sizes of which neither is more than so many times the other count as similar."""

MODEL_PARAMETERS: Mapping[str, int] = MappingProxyType(
    {"movie-reviews": 22_566_146, "solar-cells": 3_373_570, "spoken-digits": 7_636_234}
)
"""Weights of the model that each ready-made task fine-tunes, head included, where no run tells."""

_WEB = {"arXiv:": "https://arxiv.org/abs/", "doi:": "https://doi.org/", "https://": "https://"}
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text in quotes"),
    "str | None": ((str, NoneType), "text in quotes, or leave it out"),
    "float": ((int, float), "a number"),
    "float | None": ((int, float, NoneType), "a number, or leave it out"),
    "int | None": ((int, NoneType), "a whole number, or leave it out"),
    "bool": ((bool,), "true or false"),
    "bool | None": ((bool, NoneType), "true or false, or leave it out"),
    "tuple[str, ...]": ((tuple, list), "a list of texts"),
    "dict[str, Any]": ((dict,), 'a table such as { task = "movie-reviews", method = "lora" }'),
}
"""What a field may hold, by its annotation, and how to say so."""


@dataclass(frozen=True)
class Published:
    """A figure that a paper reports, and how it came about.

    What is None is not known; the badges then say "not stated".

    Attributes
    ----------
    name
        By which errors and tests call it.
    paper, address, table
        Authors and year; arXiv number, DOI or web address; where in it the figure stands.
    checked
        A key of `CHECKED`.
    modality
        ``"text"``, ``"image"`` or ``"audio"``.
    method, variant
        ftkit's name of the method where it has one, else the paper's; its settings in words.
    data, metric
        On what, and by what, it was measured. Data that the kit has go by their name in the catalog.
    value, unit, spread
        The figure as published; the spread is what stands after "±".
    beside
        Which outcomes of ours it stands beside, as fields of `Condition` and their values.
    experiment
        Whose record holds them, default ``"methods"``.
    model, parameters
        The pretrained model, and all its weights.
    examples, split
        Training examples; the split that is reported.
    seeds
        Runs behind the figure.
    warm_start
        Whether training began from a model that had been fine-tuned on another labelled task.
    epoch
        ``"best"`` if it is the best of several epochs on the split that is reported, ``"last"`` if it is the last.
    copied
        Whether the paper took it from earlier work, default False.
    footnotes
        What changes the story, in sentences.
    """

    name: str
    paper: str
    address: str
    table: str
    checked: str
    modality: str
    method: str
    data: str
    metric: str
    value: float
    unit: str
    beside: dict[str, Any]
    experiment: str = "methods"
    variant: str | None = None
    spread: float | None = None
    model: str | None = None
    parameters: int | None = None
    examples: int | None = None
    split: str | None = None
    seeds: int | None = None
    warm_start: bool | None = None
    epoch: str | None = None
    copied: bool = False
    footnotes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in fields(self):
            self._check_kind(each.name, str(each.type), getattr(self, each.name))
        self._check_choice("checked", self.checked, tuple(CHECKED))
        self._check_choice("epoch", self.epoch, (None, "best", "last"))
        for name in ("parameters", "examples", "seeds"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise self._error(name, number, "a number of at least 1, or leave it out")
        missing = [name for name in ("task", "method") if name not in self.beside]
        if missing:
            raise FtkitError(f"Published figure {self.name}: beside names no {missing[0]}. Add it.")
        if self.task not in TASKS:
            raise self._error("beside.task", self.task, f"one of {', '.join(TASKS)}")
        self._check_choice("modality", self.modality, (TASKS[self.task].modality,))

    @property
    def task(self) -> str:
        """Name of our task that it stands beside."""
        return str(self.beside["task"])

    @property
    def our_method(self) -> str:
        """Name of our method that it stands beside."""
        return str(self.beside["method"])

    @property
    def verified(self) -> bool:
        """Whether anyone has looked it up."""
        return self.checked != "memory"

    @property
    def figure(self) -> str:
        """The value with its spread and unit; "unverified" where nobody has looked it up."""
        if not self.verified:
            return UNVERIFIED
        spread = "" if self.spread is None else f" ± {self.spread}"
        return f"{self.value}{spread} {self.unit}"

    @property
    def source(self) -> str:
        """Paper, place in it and address."""
        return f"{self.paper}, {self.table}, {self.address}"

    @property
    def link(self) -> str | None:
        """Web address of the paper, where the address leads to one."""
        for start, web in _WEB.items():
            if self.address.startswith(start):
                return web + self.address.removeprefix(start)
        return None

    @property
    def setting(self) -> str:
        """Model, data, metric and split, each or that it is not stated."""
        weights = "" if self.parameters is None else f" ({in_words(self.parameters)} weights)"
        model = f"model {NOT_STATED}" if self.model is None else f"{self.model}{weights}"
        split = f"split {NOT_STATED}" if self.split is None else f"{self.split} split"
        return f"{model}, {self.data}, {self.metric}, {split}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences to read with the figure."""
        if not self.verified:
            # A footnote may hold figures too, and these are no better known than the value.
            return ("Nobody has looked this figure up yet.",)
        return (("The paper took this figure from earlier work.",) if self.copied else ()) + tuple(self.footnotes)

    def _check_kind(self, name: str, annotation: str, value: Any) -> None:
        kinds, remedy = _KINDS[annotation]
        # To Python, true is a number.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds) or value == "":
            raise self._error(name, value, remedy)

    def _check_choice(self, name: str, value: str | None, choices: Sequence[str | None]) -> None:
        if value not in choices:
            words = ", ".join("nothing at all" if each is None else repr(each) for each in choices)
            raise self._error(name, value, f"one of {words}" if len(choices) > 1 else words)

    def _error(self, name: str, value: object, remedy: str) -> FtkitError:
        return FtkitError(f"Published figure {self.name}: {name} is {value!r}. Write {remedy}.")


@dataclass(frozen=True)
class OurResult:
    """What we have to set beside a published figure.

    Attributes
    ----------
    task, method
        Names.
    metric
        Name of the metric; None where nothing was measured.
    score
        Mean test score over the seeds and its 95 % interval, or None.
    seeds
        Runs behind it.
    parameters, examples
        All weights of the model, and training examples; None where they are not known.
    """

    task: str
    method: str
    metric: str | None
    score: Score | None
    seeds: int
    parameters: int | None
    examples: int | None

    def __str__(self) -> str:
        if self.score is None:
            return "not measured"
        return f"{self.score}, {str(self.metric).replace('_', ' ')}, {self.seeds} seed{'s' * (self.seeds != 1)}"


@dataclass(frozen=True)
class Badge:
    """A question on whether two figures can be compared, and its answer.

    Attributes
    ----------
    question, answer
        The answer is computed, never written.
    found
        What it was computed from, in words.
    wanted
        The answer that lets the figures be compared.
    """

    question: str
    answer: Answer
    found: str
    wanted: Answer

    @property
    def speaks_for(self) -> bool:
        """Whether the answer lets the figures be compared."""
        return self.answer == self.wanted

    @property
    def mark(self) -> str:
        """One character for the three cases."""
        return "✓" if self.speaks_for else "?" if self.answer == NOT_STATED else "✗"

    def __str__(self) -> str:
        return f"{self.mark} {self.question} {self.answer}" + (f" ({self.found})" if self.found else "")


@dataclass(frozen=True)
class PaperCard:
    """A published figure, ours, and whether the two can be compared; `str` gives it as text.

    Attributes
    ----------
    published, ours, badges
        The two sides, and the questions.
    """

    published: Published
    ours: OurResult
    badges: tuple[Badge, ...]

    @property
    def verdict(self) -> str:
        """In a few words, whether the two sides can be compared."""
        agreeing = sum(badge.speaks_for for badge in self.badges)
        if agreeing == len(self.badges):
            return self._last_doubt() or "like for like"
        return f"not like for like: {agreeing} of {len(self.badges)} answers speak for it"

    def _last_doubt(self) -> str:
        """What keeps figures of like settings from being compared; empty where nothing does."""
        if self.ours.score is None:
            return "nothing to compare yet: ours is not measured"
        if self.published.metric.replace("_", " ").lower() != str(self.ours.metric).replace("_", " ").lower():
            return f"not like for like: {self.published.metric} is another metric than ours"
        if self.published.split != "test":
            return f"not like for like: the {self.published.split or 'unknown'} split is no test split"
        return ""

    def __str__(self) -> str:
        published = self.published
        lines = [
            f"{title(published)}: {published.figure}",
            f"  {published.source}; {CHECKED[published.checked]}",
            f"  {published.setting}",
            f"Ours, {self.ours.method} on {self.ours.task}: {self.ours}",
            f"{self.verdict[0].upper()}{self.verdict[1:]}",
            *(f"  {badge}" for badge in self.badges),
            *(f"  {note}" for note in published.notes),
        ]
        return "\n".join(lines)


def load_papers(path: Path | None = None) -> list[Published]:
    """Read the published figures that come with the kit, or those of a file.

    Parameters
    ----------
    path
        A TOML file of ``[[paper]]`` tables, each with its ``[[paper.figure]]``; what stands in the first holds for all
        of the second that do not say otherwise. Default: ``papers.toml`` of the kit.

    Raises
    ------
    FtkitError
        If the file cannot be read, or an entry lacks a field, has one too many or holds what it cannot, or two share a
        name.

    Examples
    --------
    >>> papers = {each.name: each for each in load_papers()}
    >>> papers["hu-2021-rte-lora"].figure, papers["hu-2021-rte-lora"].warm_start
    ('86.6 ± 0.7 %', True)
    """
    path = data_folder() / "papers.toml" if path is None else path
    try:
        papers = tomllib.loads(path.read_text(encoding="utf-8")).get("paper", [])
    except tomllib.TOMLDecodeError as error:
        raise FtkitError(f"{path.name} is no valid TOML: {error}. Mend that line.") from None
    except OSError as error:
        raise FtkitError(f"{path} cannot be read: {error.strerror}. Name a file of published figures.") from None
    found = [_published(path.name, {**paper, **figure}) for paper in papers for figure in paper.get("figure", [])]
    if not found:
        raise FtkitError(f"{path.name} holds no figure. Write them as [[paper.figure]] below a [[paper]].")
    names = [each.name for each in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FtkitError(f"{path.name} holds {twice[0]!r} twice. Give one of them another name.")
    return found


def badges(published: Published, ours: OurResult) -> tuple[Badge, ...]:
    """Answer whether a published figure can be compared with ours.

    Every answer follows from fields. Of a figure that nobody has looked up, all that matters is "not stated".

    Parameters
    ----------
    published, ours
        The two sides.

    Returns
    -------
    tuple of Badge
        Same task; model and training data of similar size (at most twice the other); several seeds; warm start; best
        epoch. The first four should be answered yes, the last two no.
    """
    if not published.verified:
        published = replace(published, parameters=None, examples=None, seeds=None, warm_start=None, epoch=None)
    assets = TASKS[ours.task].assets if ours.task in TASKS else ()
    same: Answer = _yes_or_no(published.data in assets) if published.verified else NOT_STATED
    several: Answer = NOT_STATED if published.seeds is None else _yes_or_no(min(published.seeds, ours.seeds or 2) > 1)
    best: Answer = NOT_STATED if published.epoch is None else _yes_or_no(published.epoch == "best")
    warm: Answer = NOT_STATED if published.warm_start is None else _yes_or_no(published.warm_start)
    return (
        Badge("Same task?", same, f"{published.data}; ours {ours.task}", "yes"),
        _size_badge("Model of similar size?", published.parameters, ours.parameters),
        _size_badge("Training data of similar size?", published.examples, ours.examples),
        Badge("Several seeds?", several, _sides(published.seeds, ours.seeds or None), "yes"),
        Badge("Warm start?", warm, "", "no"),
        Badge("Best epoch?", best, "", "no"),
    )


def paper_card(result: Record | Run | Sequence[Run] | None, published: Published) -> PaperCard:
    """Set a published figure beside our result.

    Parameters
    ----------
    result
        The record of an experiment, of which the outcomes that the figure names are taken; or runs of one method that
        differ in their seed only, of any task; or None, where nothing was measured.
    published
        The figure.

    Raises
    ------
    FtkitError
        If the runs or outcomes are not of one setting, or the runs are of another method.

    Examples
    --------
    >>> lora = next(each for each in load_papers() if each.name == "hu-2021-rte-lora")
    >>> print(paper_card(None, lora).badges[4])
    ✗ Warm start? yes
    """
    if isinstance(result, Record):
        ours = _of_record(result, published)
    elif result is None:
        ours = _not_measured(published)
    else:
        ours = _of_runs(list(result) if isinstance(result, Sequence) else [result], published)
    return PaperCard(published, ours, badges(published, ours))


def cards_from_records(papers: Sequence[Published], folder: Path | None = None) -> Iterator[PaperCard]:
    """Set published figures beside the records of a folder, by default those of the kit; see `find_record`."""
    records: dict[str, Record | None] = {}
    for published in papers:
        name = published.experiment
        if name not in records:
            records[name] = find_record(name, folder)
        yield paper_card(records[name], published)


def title(published: Published) -> str:
    """Method, variant and data of a figure.

    Examples
    --------
    >>> title(next(each for each in load_papers() if each.name == "guo-2021-sst2-full"))
    'full on SST-2'
    """
    variant = "" if published.variant is None else f" ({published.variant})"
    return f"{published.method}{variant} on {published.data}"


def in_words(number: int) -> str:
    """Write a size as people say it.

    Examples
    --------
    >>> in_words(400), in_words(67_349), in_words(22_566_146), in_words(7_000_000_000)
    ('400', '67,349', '22.6 million', '7 billion')
    """
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


def _published(file: str, entry: dict[str, Any]) -> Published:
    """Make a figure of an entry, or say what is wrong with it."""
    entry.pop("figure", None)
    name = entry.get("name", "without a name")
    known = {each.name: each for each in fields(Published)}
    unknown = [key for key in entry if key not in known]
    if unknown:
        problem = UnknownNameError("field", unknown[0], known)
        raise FtkitError(f"{file}, figure {name}: {problem} Rename it or leave it out.")
    lacking = [key for key, each in known.items() if each.default is MISSING and key not in entry]
    if lacking:
        raise FtkitError(f"{file}, figure {name}: {lacking[0]} is missing. Add it to the figure or to its paper.")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Published(**values)


def _yes_or_no(holds: bool) -> Answer:
    return "yes" if holds else "no"


def _size_badge(question: str, theirs: int | None, ours: int | None) -> Badge:
    answer: Answer = NOT_STATED
    if theirs is not None and ours is not None:
        answer = _yes_or_no(max(theirs, ours) <= SIMILAR * min(theirs, ours))
    return Badge(question, answer, _sides(theirs, ours), "yes")


def _sides(theirs: int | None, ours: int | None) -> str:
    told = "ours not measured" if ours is None else f"ours {in_words(ours)}"
    return told if theirs is None else f"{in_words(theirs)}; {told}"


def _not_measured(published: Published) -> OurResult:
    # How many examples an experiment will take is its own affair until it has been made.
    examples = published.beside.get("examples")
    return OurResult(published.task, published.our_method, None, None, 0, MODEL_PARAMETERS[published.task], examples)


def _of_record(record: Record, published: Published) -> OurResult:
    outcomes = record.where(**published.beside)
    if not outcomes:
        return _not_measured(published)
    first = outcomes[0].condition
    if any(replace(outcome.condition, seed=first.seed) != first for outcome in outcomes):
        raise FtkitError(
            f"Published figure {published.name}: beside names outcomes of {record.experiment} that differ in more than "
            "their seed. Add what tells them apart, such as examples."
        )
    test = record.tests[first.task]
    return OurResult(
        task=first.task,
        method=first.method,
        metric=test.metric,
        score=mean_test_score(record, outcomes),
        seeds=len(outcomes),
        parameters=outcomes[0].total,
        examples=TASKS[first.task].default_train if first.examples is None else first.examples,
    )


def _of_runs(runs: Sequence[Run], published: Published) -> OurResult:
    if not runs:
        return _not_measured(published)
    spec = runs[0].spec
    if any(replace(run.spec, seed=spec.seed) != spec for run in runs):
        raise FtkitError("The runs beside a published figure must differ in their seed only. Give those of one method.")
    if spec.method != published.our_method:
        raise FtkitError(
            f"Published figure {published.name} stands beside {published.our_method}, and the run is of {spec.method}. "
            "Choose another figure or another run."
        )
    answers = [run.predictions for run in runs]
    metric = runs[0].metric
    return OurResult(
        task=spec.task,
        method=spec.method,
        metric=metric,
        score=mean_score(metric, answers[0].labels, [each.probabilities for each in answers], answers[0].groups),
        seeds=len(runs),
        parameters=runs[0].cost.total,
        examples=spec.train_examples,
    )
