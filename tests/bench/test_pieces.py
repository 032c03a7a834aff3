"""Turning a piece off changes code that a training runs through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pieces
import pytest
from measuring import fresh_activations, warm_up
from ours import probes_on, train_on
from pieces import PIECES, PIECES_OF_PROBES, pieces_of, turned_off

from ftkit.tasks import Task

CASES = [
    *((method, "text") for method in ("full", "linear-probe")),
    *((method, "image") for method in ("full", "partial", "lora")),
    *((method, "audio") for method in ("partial", "adapter")),
]


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of what was put in the place of ours, and then called."""
    called: set[str] = set()
    replaced = pieces.replaced

    def told(name: str, value: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            called.add(name)
            return value(*arguments, **options)

        return call

    @contextmanager
    def watched(*places: tuple[object, str, Any]) -> Iterator[None]:
        with replaced(*((owner, name, told(name, value)) for owner, name, value in places)):
            yield

    monkeypatch.setattr(pieces, "replaced", watched)
    return called


def test_trainings_have_all_pieces_between_them():
    assert {piece for case in CASES for piece in pieces_of(*case)} | {*PIECES_OF_PROBES} == {*PIECES}


@pytest.mark.parametrize(
    ("method", "modality", "piece"), [(*case, piece) for case in CASES for piece in pieces_of(*case)]
)
def test_a_training_runs_through_what_takes_the_place_of_a_piece(
    method: str, modality: str, piece: str, tiny_task: Callable[[str], Task], reached: set[str]
):
    task = tiny_task(modality)
    with turned_off([piece]), fresh_activations():
        warm_up(task, method)
        measured = train_on(task, method, epochs=1)
    assert reached
    assert measured.fit_seconds > 0


def test_probes_run_through_what_takes_the_place_of_theirs(tiny_task: Callable[[str], Task], reached: set[str]):
    with turned_off(PIECES_OF_PROBES), fresh_activations():
        measured = probes_on(tiny_task("text"), [(0.01, 0), (0.1, 0)], epochs=1)
    assert reached == {"probe_runs"}
    assert [outcome.learning_rate for outcome in measured.outcomes] == [0.01, 0.1]
