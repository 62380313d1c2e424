"""The end of the process, as far as Python can see to it: what lives is closed in its own loop, for as long as there is
time; then Rust parks and closes the rest."""

from __future__ import annotations

import asyncio
import threading
import time

import anyio

from labtether._hosted import Hosted
from labtether._hosts import live_hosts

__all__ = ["close_all"]

# Of the two seconds that the end of a process may take; the rest is for Rust's parking, and for the interpreter.
LIMIT = 1.2


def close_all() -> float:
    """Close everything that lives, for at most LIMIT seconds. Returns how long that took."""
    began = time.monotonic()
    hosts = live_hosts()
    for host in hosts:
        host.tell()
    here: dict[asyncio.AbstractEventLoop, list[Hosted]] = {}
    for host in hosts:
        loop = host.loop
        if loop is not None and not loop.is_running() and not loop.is_closed():
            here.setdefault(loop, []).append(host)
    try:
        for loop, living in here.items():
            # A notebook's loop stands still by now; whatever else waits in it goes on for that long.
            loop.run_until_complete(_over(living, began + LIMIT - time.monotonic()))
        for host in hosts:
            ended = threading.Event()
            host.set_when_over(ended)
            ended.wait(max(0.0, began + LIMIT - time.monotonic()))
    except (KeyboardInterrupt, RuntimeError):
        # Interrupted, or the loop does not run any more: Rust has the last word.
        return time.monotonic() - began
    finally:
        for host in hosts:
            host.tear_down("the process is ending")
    return time.monotonic() - began


async def _over(hosts: list[Hosted], limit: float) -> None:
    with anyio.move_on_after(limit):
        for host in hosts:
            await host.over.wait()
