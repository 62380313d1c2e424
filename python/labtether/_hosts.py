"""Who is set up: the hosts that live, the links outside them, whose lifespan code runs in, who makes room for whom."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from labtether import _core
from labtether._crowd import present
from labtether._log import lifespan_log, replaced_log
from labtether._strand import _strand

if TYPE_CHECKING:
    from labtether._hosted import Hosted
    from labtether._link import Link

__all__ = [
    "Blocked",
    "blocked",
    "blocked_loop",
    "current_host",
    "enter_context",
    "host_of",
    "is_inside",
    "live_hosts",
    "loop_closed",
    "make_room",
    "parks",
    "remember",
    "set_up_links",
    "stop_for",
    "where",
    "wholes",
]

_host: ContextVar[Hosted | None] = ContextVar("labtether host", default=None)
_hosts: dict[int, weakref.ref[Hosted]] = {}
"""By their numbers. Weakly: what keeps a host is its task, and what keeps that is its loop."""

Where = tuple[int, int]
"""A thread, and the loop that runs in it; 0: trio's."""


class Blocked:
    """A blocking call: the loop that waits by it for the code that runs; None when it is over."""

    __slots__ = ("where",)

    def __init__(self, where: Where | None) -> None:
        self.where = where


blocked: ContextVar[Blocked | None] = ContextVar("labtether blocks", default=None)


def blocked_loop() -> Where | None:
    """The loop that waits, by a blocking call, for the code that runs."""
    call = blocked.get()
    return None if call is None else call.where


def where() -> Where | None:
    """The loop that runs in this thread."""
    if _core.in_trio():
        return threading.get_ident(), 0
    loop = asyncio._get_running_loop()
    return None if loop is None else (threading.get_ident(), id(loop))


set_up_links: weakref.WeakSet[Link[Any]] = weakref.WeakSet()
"""Links that were set up outside every lifespan."""


def remember(host: Hosted) -> None:
    """It has begun."""
    key = host.key
    _hosts[key] = weakref.ref(host, lambda _: _hosts.pop(key, None))


def enter_context(host: Hosted) -> None:
    """The code that runs, and every task it starts, belongs to its lifespan."""
    _host.set(host)
    _strand.set(host.strand)


def current_host() -> Hosted | None:
    """The host in whose context this code runs."""
    return _host.get()


def host_of(number: int) -> Hosted | None:
    """The host of that number, if it is still there."""
    known = _hosts.get(number)
    return None if known is None else known()


def live_hosts() -> list[Hosted]:
    """Those that are not over, the oldest first."""
    known = (reference() for reference in list(_hosts.values()))
    hosts = (host for host in known if host is not None and host.is_ours and not host.over.is_set())
    return sorted(hosts, key=lambda host: host.key)


def wholes() -> list[Hosted]:
    """All that live, without those that are part of another, which closes them."""
    return [host for host in live_hosts() if host.parent is None or host.parent.over.is_set()]


def is_inside(number: int) -> bool:
    """Whether the code that runs belongs to the lifespan of that number, to one around it, or to one inside it.
    Called by Rust. Raises LinkClosed where it belongs to one that was torn down: what is open now is another's."""
    current, other = _host.get(), host_of(number)
    if current is None or other is None:
        return False
    if current.torn:
        raise current.closed("its lifespan had been given up")
    return other in current.line() or current in other.line()


def parks() -> bool:
    """Whether the code that runs belongs to a lifespan that ends. Called by Rust."""
    host = _host.get()
    return host is not None and any(one.state == "closing" for one in host.line())


async def make_room(link: Link[Any]) -> None:
    """Stop the idle links, and the instruments, that are set up where `link` leads. What holds a serial port under
    another name, Rust finds."""
    for host in live_hosts():
        if any(_stands_in_the_way(other, link) for other in present(host.links)):
            await stop_for(link, host)
    for other in present(set_up_links):
        if _stands_in_the_way(other, link):
            replaced_log(other.name, link.name)
            await other.stop()


async def stop_for(link: Link[Any], host: Hosted) -> bool:
    """Stop the whole that `host` is part of, because `link` is to have its port; whether that was possible: it is not
    where they are part of the same whole."""
    *_, whole = host.line()
    if (current := _host.get()) is not None and whole in current.line():
        return False
    what = f"it was set up on the same port ({whole.place}), and is stopped for {link.name}"
    lifespan_log(whole, what, level=logging.INFO)
    if _core.is_blocking():
        # No loop runs this: it waits on this thread, as whoever called it does.
        from labtether._own_loop import leave

        interrupt = leave(whole)
    else:
        interrupt = await whole.leave()
    if interrupt is not None:
        raise interrupt
    failure = whole.take_failure()
    if failure is not None:
        lifespan_log(whole, "its closing part failed", failure, logging.ERROR)
    return True


def _stands_in_the_way(other: Link[Any], link: Link[Any]) -> bool:
    """Whether `other`, which is idle, is set up where `link` leads, and is not another face of the same."""
    if other is link or (link._shared is not None and other._shared is link._shared):
        return False
    return other.url == link.url and other.state == "open" and not _core.is_busy(other._wire)


def loop_closed(loop: asyncio.AbstractEventLoop) -> None:
    """`loop` was closed under what lives in it."""
    for host in live_hosts():
        if host._loop is not None and host._loop() in (None, loop):
            host.tear_down("its event loop was closed")
