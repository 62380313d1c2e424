"""How locks, semaphores, slots, events and channels look: who holds, who waits, what is free."""

from __future__ import annotations

from typing import Any

from labtether._channel import Channel
from labtether._show.blocks import card, facts, heading, plural, seconds, table
from labtether._show.markup import Html, joined
from labtether._sync import Event, Lock, Semaphore, Slots

__all__ = ["channel_html", "event_html", "places_html"]

Row = tuple[str, "str | None", float, int]


def places_html(shared: Lock | Semaphore | Slots) -> Html:
    """A lock, a semaphore or slots."""
    size, holders, waiters = shared._places.view()
    kind = type(shared).__name__.lower()
    if size == 1:
        state = "held" if holders else "free"
    else:
        free = size - len(holders)
        state = "full" if not free else "held in part" if holders else "free"
    counted = None if size == 1 else f"{size - len(holders)} of {size} free"
    places = ", ".join(shared.free) or None if isinstance(shared, Slots) else None
    return card(heading(kind, shared.name, state, counted), facts([("free", places)]), _people(holders, waiters))


def _people(holders: list[Row], waiters: list[Row]) -> Html | None:
    if not holders and not waiters:
        return None
    rows = [_person("holds", row) for row in holders] + [_person("waits", row) for row in waiters]
    if not any(place for _, _, place, _ in rows):
        return table(["", "who", "for"], [[does, who, age] for does, who, _, age in rows])
    return table(["", "who", "place", "for"], rows)


def _person(does: str, row: Row) -> tuple[str, str, str, str]:
    who, place, age, depth = row
    return does, f"{who}, {depth} times" if depth > 1 else who, place or "", seconds(age)


def event_html(event: Event) -> Html:
    """An event."""
    waiting = event._event.waiting()
    more = f"{plural(waiting, 'waits', 'wait')} for it" if waiting else None
    return card(heading("event", event.name, "set" if event.is_set() else "not set", more))


def channel_html(channel: Channel[Any]) -> Html:
    """A channel."""
    now = channel.statistics()
    if now.ended is not None:
        state = "ended"
    else:
        state = "full" if 0 < now.max_buffer_size <= now.current_buffer_used else "open"
    waits = [
        f"{count} to {what}"
        for count, what in ((now.tasks_waiting_send, "send"), (now.tasks_waiting_receive, "receive"))
        if count
    ]
    peak = f" (at most {now.peak_buffer_used})" if now.peak_buffer_used else ""
    return card(
        heading("channel", channel.name, state),
        facts(
            [
                ("holds", joined([f"{now.current_buffer_used} of {now.max_buffer_size}", peak])),
                ("senders", f"{now.open_senders}"),
                ("waiting", ", ".join(waits) or None),
                ("passed on", f"{now.received} of {now.sent} sent"),
                ("ended", now.ended),
            ]
        ),
    )
