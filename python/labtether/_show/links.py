"""How links, their traces and instruments look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labtether import _core
from labtether._escapes import escaped
from labtether._show.blocks import (
    card,
    dot,
    facts,
    faint,
    fold,
    heading,
    lines,
    mono,
    plural,
    problem_line,
    seconds,
    size,
    table,
    tone_of,
)
from labtether._show.markup import Html, joined, shortened, tag
from labtether._trace import Trace, moment

if TYPE_CHECKING:
    from labtether._face import Face

__all__ = ["instrument_html", "link_html", "trace_html"]

FEW = 8
"""So many events of a trace are folded into the page of its link."""

MANY = 500
"""So many events of a trace are shown at most."""

LONG = 300
"""So many bytes of one event are shown at most."""


def link_html(link: Face[Any]) -> Html:
    """A link: where it leads, how it is, what went over it, its last events."""
    return card(heading("link", link.name, link.state), _link_facts(link), _last_events(link))


def instrument_html(
    name: str,
    kind: str,
    state: str,
    age: float | None,
    doing: str | None,
    links: Sequence[Face[Any]],
    problem: str | None,
) -> Html:
    """An instrument: how it is, what it is doing, what is wrong, and each of its links, folded.

    kind: its class. state: a word. age: seconds since it was set up, None if it is not. doing: its situation. problem:
    what went wrong, in words; None if nothing has.
    """
    since = None if age is None else f"for {seconds(age)}"
    said = None if doing is None else lines([joined([faint("doing "), doing])])
    wrong = None if problem is None else problem_line(problem)
    parts = [_part(link) for link in links]
    return card(heading(kind, name, state, since), said, wrong, *parts)


def trace_html(trace: Trace) -> Html:
    """A trace, one row an event."""
    shown = trace[-MANY:]
    passed = f"; the last {len(shown)} of them" if len(shown) < len(trace) else ""
    title = tag("div", faint("trace "), tag("strong", trace.of), faint(f" {plural(len(trace), 'event')}{passed}"))
    return card(title, _events(shown))


def _part(link: Face[Any]) -> Html:
    summary = joined([dot(tone_of(link.state)), f"{link.name} {link.state}", faint(f" {link._described}")])
    return fold(summary, _link_facts(link), _last_events(link))


def _link_facts(link: Face[Any]) -> Html | None:
    exchanges, written, read, late, dropped, last = link._wire.counts()
    ago = None if last is None else f"{seconds(max(0.0, _core.monotonic() - last))} ago"
    lost = link._wire.lost()
    return facts(
        [
            ("url", mono(link.url)),
            ("line", None if link._described == link.url else mono(link._described)),
            ("timeout", f"{link.timeout:g} s"),
            ("exchanges", f"{exchanges}"),
            ("bytes", f"{size(written)} out, {size(read)} in"),
            ("late replies", f"{late}, dropped" if late else None),
            ("unasked messages", f"{dropped} dropped" if dropped else None),
            ("last activity", ago),
            ("lost", None if lost is None else shortened(str(lost), LONG)),
        ]
    )


def _last_events(link: Face[Any]) -> Html | None:
    trace = link.trace()
    if not trace:
        return None
    few = trace[-FEW:]
    title = "trace" if len(few) == len(trace) else f"trace, the last {len(few)} of {len(trace)} events"
    return fold(faint(title), _events(few))


_ARROWS = {">": "to the instrument", "<": "from the instrument", "!": "happened to the link"}


def _events(trace: Trace) -> Html:
    rows = []
    for one in trace:
        mark = tag("span", mono(one.direction), title=_ARROWS.get(one.direction, ""))
        note = faint(one.note) if one.note else None
        data = mono(shortened(escaped(one.data), LONG)) if one.data else None
        said = joined([data, " " if data and note else None, note])
        rows.append([faint(mono(moment(one.time), wrap=False)), mark, said])
    return table(["time", "", "bytes"], rows)
