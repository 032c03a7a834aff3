"""The answers of several runs to one item, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from ftkit.errors import FtkitError
from ftkit.figures.run_labels import run_labels
from ftkit.figures.style import RIGHT, WRONG, method_style

if TYPE_CHECKING:
    from ftkit.experiments.run import Run
    from ftkit.figures import Html

__all__ = ["MethodAnswer", "answers_html", "answers_table", "ask", "error_html"]


@dataclass(frozen=True)
class MethodAnswer:
    """What one run answers.

    Attributes
    ----------
    name
        The method's name.
    title
        The run's title: the method's, and the seed where several runs share the method.
    ranking
        Class names with their probabilities in 0..1, the most probable first.
    """

    name: str
    title: str
    ranking: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The answer: the most probable class."""
        return self.ranking[0][0]


def ask(runs: Sequence[Run], item: Any) -> list[MethodAnswer]:
    """Ask every run about one item.

    Parameters
    ----------
    runs
        Trained runs of one modality.
    item
        A text; or a picture or recording, as a path or as an array such as tasks hold.

    Raises
    ------
    FtkitError
        If there is no run, the text is empty, or the item can't be read.
    """
    if not runs:
        raise FtkitError("There is no run to ask. Train at least one method first.")
    if isinstance(item, str) and not item.strip():
        raise FtkitError("There is nothing to read yet. Write a sentence first.")
    answers = []
    for run, label in zip(runs, run_labels(runs), strict=True):
        was_in_memory = run.trainable is not None
        probabilities = run.predict([item]).probabilities[0]
        if not was_in_memory:
            run.release()  # seven models at once would be more memory than a small machine has
        order = (-probabilities).argsort(kind="stable")
        ranking = tuple((run.label_names[index], float(probabilities[index])) for index in order)
        answers.append(MethodAnswer(run.spec.method, label, ranking))
    return answers


def answers_table(runs: Sequence[Run], item: Any, truth: str | None = None) -> Html:
    """Ask every run about one item and return the answers as a table for the notebook.

    Parameters
    ----------
    runs
        Trained runs, such as ``comparison.runs``.
    item
        A text; or a picture or recording, as a path or as an array such as tasks hold.
    truth
        Name of the true class where it is known.

    Examples
    --------
    ``answers_table(board.runs, "A film to fall in love with.")``
    """
    from ftkit.figures import Html

    return Html(answers_html(ask(runs, item), truth))


def answers_html(answers: Sequence[MethodAnswer], truth: str | None = None) -> str:
    """Return a table: one row a method with its answer, the probability as a bar and a number, and the runner-up."""
    left = 'style="text-align: left"'
    heads = ("Method", "Answer", "Probability", "Second choice")
    head = "".join(f'<th scope="col" {left}>{text}</th>' for text in heads)
    rows = "".join(_row(answer, truth) for answer in answers)
    known = "" if truth is None else f"<p>The true answer is <strong>{escape(truth)}</strong>.</p>"
    agree = len({answer.label for answer in answers}) == 1
    said = f"All methods answer {escape(answers[0].label)}." if agree else "The methods disagree."
    return (
        f"{known}<table><caption>{said if len(answers) > 1 else 'One method'}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def error_html(error: Exception) -> str:
    """Return an error as one polite line."""
    return f'<p role="alert"><strong>That did not work.</strong> {escape(str(error))}</p>'


def _row(answer: MethodAnswer, truth: str | None) -> str:
    left = 'style="text-align: left"'
    label, share = answer.ranking[0]
    mark = ""
    if truth is not None:
        sign, colour = ("✓", RIGHT) if label == truth else ("✗", WRONG)
        mark = f'<strong style="color: {colour}">{sign}</strong> '
    second = ", ".join(f"{name} {100 * value:.0f} %" for name, value in answer.ranking[1:2])
    return (
        f'<tr><th scope="row" {left}>{escape(answer.title)}</th>'
        f"<td {left}>{mark}{escape(label)}</td>"
        f"<td {left}>{_bar(share, method_style(answer.name).colour)} {100 * share:.0f} %</td>"
        f"<td {left}>{escape(second)}</td></tr>"
    )


def _bar(share: float, colour: str) -> str:
    # The number beside the bar says the same, so screen readers pass over the bar.
    return (
        '<span aria-hidden="true" style="display: inline-block; width: 120px; border: 1px solid #999999">'
        f'<span style="display: block; height: 10px; width: {120 * share:.0f}px; background-color: {colour}"></span>'
        "</span>"
    )
