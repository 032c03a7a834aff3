"""Turning a piece off changes code that a training runs through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Watched:
    """Names of what was put in the place of ours, and of what was then called."""

    placed: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Watch what `pieces` puts in the place of ours."""
    found = Watched()
    replaced = pieces.replaced

    def told(name: str, value: Callable[..., Any]) -> Callable[..., Any]:
        found.placed.add(name)

        def call(*arguments: Any, **options: Any) -> Any:
            found.called.add(name)
            return value(*arguments, **options)

        return call

    @contextmanager
    def watching(*places: tuple[object, str, Any]) -> Iterator[None]:
        with replaced(*((owner, name, told(name, value)) for owner, name, value in places)):
            yield

    monkeypatch.setattr(pieces, "replaced", watching)
    return found


def test_trainings_have_all_pieces_between_them():
    assert {piece for case in CASES for piece in pieces_of(*case)} | {*PIECES_OF_PROBES} == {*PIECES}


@pytest.mark.parametrize("piece", [piece for piece in PIECES if piece not in PIECES_OF_PROBES])
def test_trainings_run_through_all_that_takes_the_place_of_a_piece(
    piece: str, tiny_task: Callable[[str], Task], watched: Watched
):
    called: set[str] = set()
    for method, modality in [case for case in CASES if piece in pieces_of(*case)]:
        watched.called.clear()
        task = tiny_task(modality)
        with turned_off([piece]), fresh_activations():
            warm_up(task, method)
            train_on(task, method, epochs=1)
        assert watched.called, f"{method} on {modality}"
        called |= watched.called
    assert called == watched.placed


def test_probes_run_through_what_takes_the_place_of_theirs(tiny_task: Callable[[str], Task], watched: Watched):
    with turned_off(PIECES_OF_PROBES), fresh_activations():
        measured = probes_on(tiny_task("text"), [(0.01, 0), (0.1, 0)], epochs=1)
    assert watched.called == {"Probes"}
    assert [outcome.learning_rate for outcome in measured.outcomes] == [0.01, 0.1]
