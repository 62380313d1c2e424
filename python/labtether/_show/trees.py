"""How trees look: nested lists that fold, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labtether._show.blocks import card, faint, mono, seconds
from labtether._show.markup import Html, joined, shortened, tag

if TYPE_CHECKING:
    from labtether._tree import Tree

__all__ = ["branches", "tree_html"]

_LIST = "list-style:none;margin:0;padding:0"
_INSIDE = f"{_LIST};margin-left:.35em;padding-left:1em;border-left:1px solid rgba(127,127,127,.35)"


def tree_html(tree: Tree) -> Html:
    """A tree in a frame."""
    return card(branches(tree))


def branches(*trees: Tree, folds: bool = True) -> Html:
    """Trees, one below the other. folds: whether branches can be folded away; not where the page is drawn anew all the
    time."""
    return tag("ul", *[_branch(tree, folds) for tree in trees], style=_LIST)


def _branch(tree: Tree, folds: bool) -> Html:
    line = _line(tree)
    inside = [_branch(child, folds) for child in tree.children]
    if not inside:
        return tag("li", line, style="margin:0")
    below = tag("ul", *inside, style=_INSIDE)
    if not folds:
        return tag("li", line, below, style="margin:0")
    summary = tag("summary", line, style="cursor:pointer")
    return tag("li", tag("details", summary, below, open=""), style="margin:0")


def _line(tree: Tree) -> Html:
    times = f" ×{tree.times}" if tree.times > 1 else None  # noqa: RUF001  the sign is meant
    age = None if tree.age is None else faint(f"  {seconds(tree.age)}")
    situation = None if not tree.situation else joined(["  ", tag("em", f"“{tree.situation}”")])
    detail = None if not tree.detail else joined(["  ", faint(mono(shortened(tree.detail, 200)))])
    name = tag("span", tree.name, style="font-weight:600")
    words = [faint(tree.kind), " ", name, times, age, situation, detail]
    return tag("span", *words, style="overflow-wrap:anywhere;white-space:pre-wrap")
