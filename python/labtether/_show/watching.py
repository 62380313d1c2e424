"""The picture of `lt.watch()`: the links with their rates, and the tree of everything that is alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labtether._show.blocks import card, dot, faint, heading, mono, seconds, size, table, tone_of
from labtether._show.markup import Html, joined, shortened, tag
from labtether._show.trees import branches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labtether._show.rates import LinkLook
    from labtether._tree import Tree

__all__ = ["WATCH", "watch_forms"]

WATCH = "application/vnd.labtether.watch+json"

_COLUMNS = ["link", "state", "exchanges", "per s", "out", "in", "last", ""]


def watch_forms(title: str, state: str, why: str | None, looks: Sequence[LinkLook], tree: Tree) -> dict[str, Any]:
    """The picture by MIME type. why: in words, why it has ended; None while it goes on."""
    page = card(
        heading("watch", "labtether", state, why if why != state else None),
        _links(looks) if looks else faint("no link is set up"),
        tag("div", branches(tree, folds=False), style="margin-top:6px"),
    )
    lines = [title, *(_line(look) for look in looks), str(tree)]
    looked = {"state": state, "why": why, "links": [look.to_dict() for look in looks], "tree": tree.to_dict()}
    return {"text/plain": "\n".join(lines), "text/html": str(page), WATCH: looked}


def _links(looks: Sequence[LinkLook]) -> Html:
    rows = [
        [
            tag("span", look.name, style="font-weight:600", title=look.url),
            joined([dot(tone_of(look.state)), look.state]),
            f"{look.exchanges}",
            _rate(look.exchanges_per_second),
            _flow(look.bytes_out_per_second),
            _flow(look.bytes_in_per_second),
            "–" if look.idle is None else f"{seconds(look.idle)} ago",  # noqa: RUF001  the dash is meant
            faint(mono(_remarks(look))),
        ]
        for look in looks
    ]
    return table(_COLUMNS, rows, numbers=(2, 3, 4, 5, 6))


def _line(look: LinkLook) -> str:
    words = [
        f"link {look.name} {look.state}",
        f"{look.exchanges} exchanges",
        f"{_rate(look.exchanges_per_second)}/s",
        f"{_flow(look.bytes_out_per_second)} out",
        f"{_flow(look.bytes_in_per_second)} in",
    ]
    remarks = _remarks(look)
    return ", ".join([*words, remarks] if remarks else words)


def _remarks(look: LinkLook) -> str:
    parts = [f"{look.late} late"] if look.late else []
    parts += [f"{look.dropped} dropped"] if look.dropped else []
    parts += [shortened(look.problem, 120)] if look.problem else []
    return ", ".join(parts)


def _rate(per_second: float | None) -> str:
    return "–" if per_second is None else f"{per_second:.1f}"  # noqa: RUF001  the dash is meant


def _flow(per_second: float | None) -> str:
    return "–" if per_second is None else f"{size(per_second)}/s"  # noqa: RUF001  the dash is meant
