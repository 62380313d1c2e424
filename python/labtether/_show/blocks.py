"""The blocks that every page is made of: a card, its heading with a dot and a word, facts, tables, folds.

Colours come from the page, so that light and dark both read: text inherits its colour, rules and tints are half
transparent, and a state is a dot in a middle tone (at least 3:1 on white and on #111) beside its word. Styles are
inline, because notebooks strip style sheets from what they do not trust.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labtether._show.markup import Html, joined, tag

__all__ = ["TONES", "card", "dot", "facts", "faint", "fold", "heading", "mono", "plural", "seconds", "size", "table"]
__all__ += ["lines", "problem_line", "tone_of"]

TONES = {
    "good": "#2e8b57",
    "busy": "#b87800",
    "bad": "#d04a4a",
    "calm": "#3b82c4",
    "plain": "#797979",
}
"""Middle tones: what the dot of a state is painted with."""

_STATES = {
    "good": "open ready live free returned set",
    "busy": "opening closing reconnecting cancelled ending full parking",
    "bad": "lost failed stuck",
    "calm": "running held holds",
}
_TONE_OF = {word: tone for tone, words in _STATES.items() for word in words.split()}

_SANS = "font-family:var(--jp-ui-font-family,system-ui,-apple-system,'Segoe UI',sans-serif)"
_MONO = "font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace)"
_RULE = "1px solid rgba(127,127,127,.35)"
_CARD = f"{_SANS};font-size:13px;line-height:1.5;color:inherit;border:{_RULE};border-radius:6px"
_CARD += ";padding:8px 12px;margin:2px 0;max-width:60em;overflow-x:auto;text-align:left"
_CELL = "text-align:left;vertical-align:top;border:none;background:transparent;color:inherit;max-width:none"
_CELL += ";font-size:inherit;line-height:inherit;white-space:normal"
# On every row too: classic notebooks and JupyterLab paint stripes.
_ROW = "background:transparent;border:none"
_TABLE = "border-collapse:collapse;border:none;margin:0;color:inherit;font-size:inherit;table-layout:auto;width:auto"


def tone_of(state: str) -> str:
    """The colour of a state, by its first word."""
    return TONES[_TONE_OF.get(state.partition(" ")[0], "plain")]


def dot(colour: str) -> Html:
    """The mark of a state; the word stands beside it, so that it needs no colour to be read."""
    style = f"display:inline-block;width:.6em;height:.6em;border-radius:50%;background:{colour};margin-right:.4em"
    return tag("span", style=style, aria_hidden="true", **{"class": "labtether-dot"})


def card(*inside: str | None) -> Html:
    """One thing, in a frame."""
    return tag("div", *inside, style=_CARD, **{"class": "labtether"})


def heading(kind: str, name: str, state: str, *more: str | None) -> Html:
    """What it is, what it is called, how it is."""
    status = tag("span", dot(tone_of(state)), state, style="white-space:nowrap;margin-left:1em")
    rest = [tag("span", one, style="margin-left:1em;opacity:.75") for one in more if one]
    title = tag("span", name, style="font-weight:600;font-size:1.08em;overflow-wrap:anywhere")
    return tag("div", faint(f"{kind} "), title, status, *rest, style="margin-bottom:2px")


def faint(*inside: str | None) -> Html:
    """Beside the point."""
    return tag("span", *inside, style="opacity:.75")


def mono(*inside: str | None, wrap: bool = True) -> Html:
    """Bytes, paths, commands."""
    kept = "white-space:pre-wrap;overflow-wrap:anywhere" if wrap else "white-space:pre"
    return tag("span", *inside, style=f"{_MONO};font-size:.95em;{kept}")


def facts(rows: Iterable[tuple[str, str | None]]) -> Html | None:
    """What is known, by name; None is not known and not shown."""
    name = f"{_CELL};padding:0 1.2em 0 0;opacity:.75;white-space:nowrap;font-weight:normal"
    known = [
        tag("tr", tag("th", what, style=name, scope="row"), tag("td", value, style=f"{_CELL};padding:0"), style=_ROW)
        for what, value in rows
        if value is not None
    ]
    return tag("table", tag("tbody", *known), style=_TABLE) if known else None


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> Html:
    """Rows under headings; `numbers` are the columns that stand to the right."""

    def cells(kind: str, row: Sequence[str], more: str) -> list[Html]:
        return [
            tag(kind, one, style=f"{_CELL};{more};padding:1px 1.2em 1px 0{_RIGHT if place in numbers else ''}")
            for place, one in enumerate(row)
        ]

    head = tag("tr", *cells("th", columns, f"font-weight:normal;opacity:.75;border-bottom:{_RULE}"), style=_ROW)
    body = [tag("tr", *cells("td", row, "font-variant-numeric:tabular-nums"), style=_ROW) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", *body), style=f"{_TABLE};margin-top:4px")


_RIGHT = ";text-align:right;white-space:nowrap"


def fold(summary: str, *inside: str | None, is_open: bool = False) -> Html:
    """What is there for who wants it."""
    opened = {"open": ""} if is_open else {}
    label = tag("summary", summary, style="cursor:pointer")
    return tag("details", label, tag("div", *inside, style="padding:2px 0 0 1em"), style="margin-top:4px", **opened)


def problem_line(text: str) -> Html:
    """What is wrong, in words, with a mark at its side."""
    style = f"border-left:3px solid {TONES['bad']};padding:1px 0 1px 8px;margin:4px 0;white-space:pre-wrap"
    return tag("div", tag("strong", "problem: "), text, style=f"{style};overflow-wrap:anywhere")


def seconds(span: float) -> str:
    """A time that has passed, as one says it."""
    if span < 60:
        return f"{span:.1f} s"
    minutes, rest = divmod(int(span), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(count: float) -> str:
    """Bytes."""
    if count < 1000:
        return f"{count:.0f} B"
    return f"{count / 1000:.1f} kB" if count < 999_950 else f"{count / 1_000_000:.1f} MB"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def lines(parts: Iterable[str]) -> Html:
    """One below the other."""
    return joined(tag("div", part) for part in parts)
