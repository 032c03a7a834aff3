"""An experiment: a question, and the trainings that answer it, declared."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ftkit.errors import FtkitError

EXAMPLES = 400
"""Training examples where an experiment does not ask about their number: so trainings and trials are shared."""


@dataclass(frozen=True)
class Condition:
    """One training of an experiment.

    Attributes
    ----------
    task
        Name of a ready-made task.
    method, settings
        Name of the method and its settings that differ from the usual ones.
    examples
        Training examples; None is the task's usual number. Fewer are drawn by the seed, so that a seed stands for
        another draw too.
    learning_rate, epochs
        None takes those of `fine_tune`.
    seed
        See `fine_tune`.
    label_noise
        Share of the training labels that are replaced by another class at random, default 0.
    repaired
        Whether training items whose label looks wrong are taken out first (`find_label_errors`), default False.
    kind
        Train and validate on items of this kind only, such as ``"mono"`` cells; empty, the default, takes all.
    options
        More arguments of `fine_tune`, such as ``label_smoothing`` or ``patience``.
    """

    task: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    examples: int | None = None
    learning_rate: float | None = None
    epochs: int | None = None
    seed: int = 0
    label_noise: float = 0.0
    repaired: bool = False
    kind: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> tuple[object, ...]:
        """What decides its data: conditions that agree in it train on the same."""
        draws = self.examples is not None or self.label_noise > 0
        seed = self.seed if draws else None
        return self.task, self.examples, self.label_noise, self.repaired, self.kind, seed

    @property
    def data_in_words(self) -> str:
        """The number of examples, and what was done to them, for people.

        Examples
        --------
        >>> Condition("movie-reviews", "full", examples=600, label_noise=0.2, repaired=True).data_in_words
        '600 examples, 20 % wrong labels, repaired'
        """
        parts = [
            f"{self.examples:,} examples" if self.examples else "all examples",
            f"{self.label_noise:.0%} wrong labels".replace("%", " %") if self.label_noise else "",
            "repaired" if self.repaired else "",
            self.kind,
        ]
        return ", ".join(filter(None, parts))

    def training(self, learning_rate: float, epochs: int) -> str:
        """Everything that decides the training, as one text: conditions that agree in it are trained alike.

        Parameters
        ----------
        learning_rate, epochs
            As they are after all defaults.
        """
        from ftkit.methods import as_method

        settings = as_method(self.method, **self.settings).settings
        options = dict(sorted(self.options.items()))
        return repr(replace(self, settings=settings, learning_rate=learning_rate, epochs=epochs, options=options))

    def matches(self, wanted: dict[str, Any]) -> bool:
        """Whether all the fields that are named have the values that are wanted; a list wants one of several.

        A learning rate that trials chose, which a condition leaves open, is wanted as ``"chosen"``.
        """
        choices = {name: value if isinstance(value, list) else [value] for name, value in wanted.items()}
        found = {name: self.value(name) for name in choices}
        if self.learning_rate is None and "learning_rate" in found:
            found["learning_rate"] = "chosen" if "chosen" in choices["learning_rate"] else None
        return all(found[name] in allowed for name, allowed in choices.items())

    def value(self, name: str) -> Any:
        """A field's value; ``settings.rank`` and ``options.patience`` look inside.

        Raises
        ------
        FtkitError
            If there is no such field.
        """
        part, _, inner = name.partition(".")
        if part not in {each.name for each in fields(self)}:
            raise FtkitError(f"A condition has no {part!r}. It has {', '.join(each.name for each in fields(self))}.")
        found = getattr(self, part)
        return found.get(inner) if inner else found


@dataclass(frozen=True)
class Experiment:
    """A question, and the trainings that answer it.

    Attributes
    ----------
    name
        By which it is called.
    title, question
        For people.
    conditions
        The trainings, in the order in which they are made.
    measures
        Names of `MEASURES` that are taken of every trained model.
    """

    name: str
    title: str
    question: str
    conditions: tuple[Condition, ...]
    measures: tuple[str, ...] = ()

    @property
    def needs_source_data(self) -> bool:
        """Whether its trainings rehearse source data or are asked about them, see `source_data`."""
        return "forgetting" in self.measures or any(each.method == "replay" for each in self.conditions)

    def on_task(self, task: str) -> Experiment:
        """Return the part of it that one task is asked."""
        return replace(self, conditions=tuple(each for each in self.conditions if each.task == task))


def grid(**axes: Any) -> tuple[Condition, ...]:
    """Every combination of the values given; a list is an axis, anything else is the same for all.

    Examples
    --------
    >>> [(each.method, each.seed) for each in grid(task="movie-reviews", method=["full", "lora"], seed=[0, 1])]
    [('full', 0), ('full', 1), ('lora', 0), ('lora', 1)]
    """
    values = [value if isinstance(value, list) else [value] for value in axes.values()]
    return tuple(Condition(**dict(zip(axes, chosen, strict=True))) for chosen in itertools.product(*values))
