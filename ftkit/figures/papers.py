"""Published figures beside ours, as a table for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ftkit.experiments.papers import CHECKED, Badge, PaperCard, title
from ftkit.figures.display import Html
from ftkit.figures.style import GREY, RIGHT, WRONG, method_style

_COLOURS = {"✓": RIGHT, "✗": WRONG, "?": GREY}
_LEFT = 'style="text-align: left; vertical-align: top"'


def paper_cards(cards: PaperCard | Sequence[PaperCard]) -> Html:
    """Return a table of published figures beside ours, with what speaks for and against comparing them.

    Parameters
    ----------
    cards : PaperCard or sequence of PaperCard
        What `ftkit.experiments.papers.paper_card` returned.

    Returns
    -------
    Html
        The table; a notebook shows it as such. No mark relies on colour alone.

    Examples
    --------
    >>> from ftkit.experiments.papers import load_papers, paper_card
    >>> "not measured" in str(paper_cards(paper_card(None, load_papers()[0])))
    True
    """
    chosen = [cards] if isinstance(cards, PaperCard) else cards
    heads = "".join(f'<th scope="col" {_LEFT}>{head}</th>' for head in ("Published", "Setting", "Ours", "Comparable?"))
    rows = "".join(_row(card) for card in chosen)
    return Html(f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")


def _row(card: PaperCard) -> str:
    published, ours = card.published, card.ours
    address = escape(published.address)
    if published.link is not None:
        address = f'<a href="{escape(published.link)}">{address}</a>'
    notes = "".join(f"<br><small>{escape(note)}</small>" for note in published.notes)
    cells = (
        f"{escape(title(published))}<br><b>{escape(published.figure)}</b>",
        f"{escape(published.setting)}<br>{escape(published.paper)}, {escape(published.table)}, {address}; "
        f"{CHECKED[published.checked]}{notes}",
        f"{escape(method_style(ours.method).title)}, {escape(ours.task)}<br><b>{escape(str(ours))}</b>",
        f"{escape(card.verdict)}<br>" + "<br>".join(_badge(badge) for badge in card.badges),
    )
    return f"<tr>{''.join(f'<td {_LEFT}>{cell}</td>' for cell in cells)}</tr>"


def _badge(badge: Badge) -> str:
    words = escape(str(badge).removeprefix(badge.mark))
    return f'<span style="color: {_COLOURS[badge.mark]}">{badge.mark}</span>{words}'
