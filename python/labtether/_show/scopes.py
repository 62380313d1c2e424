"""How nurseries, their children, and what those came to look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labtether._escapes import escaped
from labtether._outcome import Cancelled, Failed, Ok
from labtether._show.blocks import card, facts, faint, fold, heading, lines, mono, problem_line, seconds, table
from labtether._show.markup import Html, joined, shortened, tag
from labtether._show.trees import branches

if TYPE_CHECKING:
    from labtether._handle import Handle
    from labtether._lifecycle import Lifecycle
    from labtether._nursery import Nursery

__all__ = ["handle_html", "lifecycle_html", "nursery_html", "outcome_html", "repr_of"]

LONG = 2000
"""So many characters of a value or an error are shown at most."""


def nursery_html(nursery: Nursery) -> Html:
    """A nursery: how it is, why it is being cancelled, and who is alive in it."""
    reason = nursery.reason
    if nursery._ended:
        state = "ended"
    elif not hasattr(nursery, "_supervisor"):
        state = "not entered"
    else:
        state = "open" if reason is None else "ending"
    why = None if reason is None else lines([joined(["cancelled: ", reason])])
    if state not in ("open", "ending"):
        return card(heading("nursery", nursery.name, state), why)
    tree = nursery.tree()
    alive = branches(*tree.children) if tree.children else faint("nobody is in it")
    return card(heading("nursery", nursery.name, state, f"for {seconds(tree.age or 0.0)}"), why, alive)


def lifecycle_html(lifecycle: Lifecycle) -> Html:
    """Everything that is alive."""
    return card(branches(lifecycle.tree()))


def handle_html(handle: Handle[Any]) -> Html:
    """A child: how it is and what it is doing, or how it ended."""
    outcome = handle._outcome
    if outcome is not None:
        state, rows, more = _ending(outcome)
        return card(heading("task", handle.name, state), rows, more)
    known = facts([("for", seconds(handle.age)), ("doing", handle.situation)])
    inside = [branches(nursery.tree()) for nursery in handle.nurseries()]
    return card(heading("task", handle.name, "running"), known, *inside)


def outcome_html(outcome: Ok[Any] | Failed | Cancelled) -> Html:
    """How a piece of work ended."""
    state, rows, more = _ending(outcome)
    return card(heading("outcome", type(outcome).__name__, state), rows, more)


def _ending(outcome: Ok[Any] | Failed | Cancelled) -> tuple[str, Html | None, Html | None]:
    """Its word, what is known of it, and what is folded below."""
    took = ("took", seconds(outcome.elapsed))
    match outcome:
        case Ok(value):
            return "returned", facts([("value", mono(shortened(repr_of(value), LONG))), took]), None
        case Failed(error):
            return "failed", facts([took]), joined(_failure(error))
        case Cancelled(reason, effects):
            rows = [
                [link, "" if command is None else mono(escaped(command)), effect] for link, command, effect in effects
            ]
            cut = table(["link", "command", "what the instrument did"], rows) if rows else None
            return "cancelled", facts([("reason", reason or None), took]), cut


def _failure(error: BaseException) -> Iterator[Html]:
    yield problem_line(shortened(_said(error), LONG))
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    if notes:
        yield fold(faint(f"notes ({len(notes)})"), *[tag("div", mono(shortened(note, LONG))) for note in notes])
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield tag("div", *_failure(part), style="padding-left:1em")


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        # An error that cannot be shown is a failure all the same.
        return type(error).__name__


def repr_of(value: object) -> str:
    """Its repr, also where that fails."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"
