"""The end of the process, as far as Python can see to it: what lives is closed in its own loop, for as long as there is
time; then Rust parks and closes the rest."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import anyio

from labtether import _core
from labtether._crowd import present
from labtether._hosted import Hosted
from labtether._hosts import live_hosts, wholes

__all__ = ["close_all"]

# Of the two seconds that the end of a process may take; the rest is for Rust's parking, and for the interpreter.
LIMIT = 1.2
LATE = 0.1


def close_all() -> float:
    """Close everything that lives, for at most LIMIT seconds. Returns how long that took."""
    began, until = time.monotonic(), _core.monotonic() + LIMIT + LATE
    hosts = live_hosts()
    for host in wholes():
        # What is part of another is told by that.
        host.tell()
    here: dict[asyncio.AbstractEventLoop, list[Hosted]] = {}
    for host in hosts:
        loop = host.loop
        if loop is not None and not loop.is_running() and not loop.is_closed():
            here.setdefault(loop, []).append(host)
    # A loop that is blocked, by somebody's code in it, does not keep Rust from parking.
    _core.park_in([link._wire for host in hosts for link in present(host.links)], LIMIT + LATE)
    try:
        for loop, living in here.items():
            _run(loop, living, began + LIMIT)
        for host in hosts:
            ended = threading.Event()
            host.set_when_over(ended)
            ended.wait(max(0.0, began + LIMIT - time.monotonic()))
    except KeyboardInterrupt:
        # Rust has the last word.
        return time.monotonic() - began
    finally:
        _tear_down(hosts)
        for host in hosts:
            _say(host, until)
    return time.monotonic() - began


def _tear_down(hosts: list[Hosted]) -> None:
    for host in hosts:
        host.tear_down("the process is ending")


def _say(host: Hosted, until: float) -> None:
    """What did not go as it should; the log may have no reader in this instant."""
    if host.problem is not None:
        why = host.problem
    elif host.torn:
        why = f"not by its own closing part: {host.reason}"
    elif host.ended is not None and host.ended > until:
        why = "not by its own closing part: its event loop was blocked"
    else:
        return
    print(f"labtether: {host.name} was closed at the end of the process, {why}", file=sys.stderr)


def _run(loop: asyncio.AbstractEventLoop, hosts: list[Hosted], until: float) -> None:
    """Run a loop that stands still, as a notebook's does by now; whatever else waits in it goes on for that long."""
    task = loop.create_task(_over(hosts, until - time.monotonic()))
    while not task.done() and time.monotonic() < until + LATE:
        try:
            loop.run_until_complete(task)
        except RuntimeError:
            # It was told to stop, by what was asked of it before: that is not for us.
            if loop.is_closed() or loop.is_running():
                return


async def _over(hosts: list[Hosted], limit: float) -> None:
    with anyio.move_on_after(limit):
        for host in hosts:
            await host.over.wait()
