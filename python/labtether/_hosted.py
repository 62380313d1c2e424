"""A host, seen from anywhere: what it holds, how it stands, and how it is waited for and stopped. Its task is in
`_hosting.py`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import anyio

from labtether import _core
from labtether._crowd import present
from labtether._errors import CleanupTimeout, LinkClosed
from labtether._hosts import Where, blocked_loop, current_host, where
from labtether._log import lifespan_log
from labtether._strand import Strand

if TYPE_CHECKING:
    from labtether._home import Home
    from labtether._link import Link

__all__ = ["Hosted"]

# So long the loop of a host may take to answer, besides the host's own time for closing.
ANSWER = 2.0


class Hosted:
    """See the module. Everything but `_run` and what it calls may be used from any loop or thread."""

    __slots__ = (
        "__weakref__",
        "_cm",
        "_cut",
        "_ends",
        "_home",
        "_kept",
        "_late",
        "_leaving",
        "_loop",
        "_outside",
        "_shelter",
        "_told",
        "_waiting",
        "_was_cut",
        "began",
        "close_timeout",
        "ended",
        "ending",
        "entered",
        "failure",
        "key",
        "kind",
        "links",
        "name",
        "opened",
        "over",
        "parent",
        "pid",
        "place",
        "problem",
        "reason",
        "replace",
        "state",
        "strand",
        "torn",
        "value",
        "where",
    )

    over: _core.Event

    def __init__(
        self,
        name: str,
        kind: str,
        cm: AbstractAsyncContextManager[Any],
        *,
        close_timeout: float,
        replace: bool,
        place: str,
    ) -> None:
        self.key = _core.next_key()
        self.name = name
        self.strand = Strand(name)
        """What its task says it is doing."""
        self.kind = kind
        self.close_timeout = close_timeout
        self.replace = replace
        """Whether idle links and instruments on the same ports are stopped for this one."""
        self.place = place
        around = current_host()
        self.parent = None if around is None or around.over.is_set() else around
        """The one whose lifespan it was begun in, and ends with."""
        self.pid = os.getpid()
        self.state = "opening"
        self.began = _core.monotonic()
        self.ended: float | None = None
        self.value: Any = None
        self.failure: BaseException | None = None
        """What entering or leaving raised, until somebody was told."""
        self.ending: BaseException | None = None
        """What the use ended with."""
        self.problem: str | None = None
        """The same in words, which stay."""
        self.reason: str | None = None
        """Why it is over, where nobody asked for that."""
        self.links: weakref.WeakKeyDictionary[Link[Any], None] = weakref.WeakKeyDictionary()
        """Links that were opened in it, in that order."""
        self.entered = _core.Event(f"the setup of {name}")
        """Set when it was entered, or could not be."""
        self.opened = False
        """Whether it was entered, whatever came then."""
        self.over = _core.Event(f"the end of {name}")
        self._told = _core.Event(f"the stop of {name}")
        self._ends: list[_core.Event | threading.Event] = []
        self._cm: AbstractAsyncContextManager[Any] | None = cm
        # What lives in the loop is held by that alone: a loop that is dropped goes, whoever still holds the instrument.
        self._home: weakref.ref[Home] | None = None
        self._cut: Callable[[], bool] | None = None
        """Cancels its task, if it can be cancelled now; whether it was."""
        self._was_cut = False
        self._shelter: Callable[[], None] | None = None
        """In trio: from now on the end of the run does not cancel it."""
        self._late = False
        """Whether its time for closing was over."""
        self._waiting = 0
        self._kept = False
        """Whether somebody was told that it is set up: then it is his, whoever else gives up."""
        self._leaving = 0
        """How many wait for its end."""
        self._outside = False
        """Whether its task was cancelled from outside: by the end of its loop."""
        self.torn = False
        """Whether it was given up, and its links were closed under it."""
        self.where: Where | None = where()
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        """None: it lives in a trio run, which ends what is in it."""

    @property
    def is_ours(self) -> bool:
        """Whether this process began it, and not one that it was forked from."""
        return self.pid == os.getpid()

    @property
    def is_told(self) -> bool:
        """Whether it was told to end."""
        return self._told.is_set()

    def check_process(self) -> None:
        """Raises ForkedProcess in a process that was forked from its own."""
        if not self.is_ours:
            _core.start()

    def line(self) -> Iterator[Hosted]:
        """Itself and those around it."""
        one: Hosted | None = self
        while one is not None:
            yield one
            one = one.parent

    def adopt(self, link: Link[Any]) -> None:
        """`link` was opened in it."""
        self.links[link] = None
        _core.belong_to(link._wire, self.key)

    def set_when_over(self, event: _core.Event | threading.Event) -> None:
        """Have `event` set once it is over."""
        self._ends.append(event)
        if self.over.is_set():
            event.set()

    def tell(self, ending: BaseException | None = None) -> None:
        """Have it end. Does not wait."""
        if self.state in ("opening", "open") and not self._told.is_set():
            self.ending = ending
        self._told.set()
        home = None if self._home is None else self._home()
        if home is not None and not self.entered.is_set():
            home.do(self._rung)

    def check_free(self, here: Where | None) -> None:
        """Raises RuntimeError where a blocking call holds up the loop that it needs."""
        if here is not None and here == self.where:
            raise RuntimeError(
                f"{self.name} lives in the event loop that runs in this thread, which this would block: await the "
                "asynchronous form, such as stop()"
            )

    async def wait_entered(self) -> None:
        """Wait until it was entered. Raises what that raised, when everything is released. If cancelled, and nobody
        else wants it, it is undone first."""
        self.check_free(blocked_loop())
        self._waiting += 1
        try:
            await self.entered.wait()
            if self.state != "open":
                # Told to end in the instant in which it was entered.
                await self.over.wait()
            self._kept = True
        except GeneratorExit:
            # The coroutine is closed, and cannot wait.
            if self._waiting == 1 and not self._kept:
                self.tell()
            raise
        except BaseException as interrupt:
            if self._waiting == 1 and not self._kept:
                self.tell()
                await self._wait_over(_core.CANCEL_TIMEOUT)
                if not self.over.is_set():
                    interrupt.add_note(f"labtether: {self.name} is still being set up: it does not end when cancelled")
            raise
        finally:
            self._waiting -= 1
        if self.over.is_set():
            error = self.take_failure() or self.closed("it was stopped while it was being set up")
            try:
                raise error
            finally:
                # The frame must not keep the error that keeps the frame.
                del error

    def keep(self) -> None:
        """Somebody was told that it is set up."""
        self._kept = True

    def take_failure(self) -> BaseException | None:
        """What went wrong, for whoever is told of it; once, but for those who wait together."""
        error = self.failure
        if self._waiting == 0:
            self.failure = None
        ipython = sys.modules.get("labtether._ipython")
        if error is not None and ipython is not None:
            ipython.told(self)
        return error

    def ended_with(self, interrupt: BaseException | None) -> BaseException | None:
        """What whoever left it is told: its failure, or what came meanwhile, with a note of its failure."""
        failure = self.take_failure()
        if interrupt is None or failure is None or failure is interrupt:
            return failure if interrupt is None else interrupt
        interrupt.add_note(f"labtether: and {self.name} could not be closed properly: {self.problem}")
        # A cancellation may be dropped on its way, with its notes.
        lifespan_log(self, "its closing part failed", failure, logging.ERROR)
        return interrupt

    def closed(self, why: str) -> LinkClosed:
        """The error of who finds it closed."""
        return LinkClosed(f"{self.name} is closed: {why}", link=self.name)

    async def leave(self, ending: BaseException | None = None) -> BaseException | None:
        """Have it left, and wait until everything is released: what came meanwhile, to be raised afterwards.

        Its own failure is in `failure`. A cancellation does not stop it; after two seconds more the wait is given up.
        Raises CleanupTimeout where its loop does not answer; then its links are parked and closed by Rust.
        """
        self._begin_to_end(ending, blocked_loop())
        self._leaving += 1
        try:
            interrupt = await self._wait_over(self._limit())
        finally:
            self._leaving -= 1
        if interrupt is not None and not self.over.is_set():
            interrupt.add_note(f"labtether: {self.name} is still being closed, in the background")
        if interrupt is not None or self.over.is_set():
            return interrupt
        links, failure = self._give_up()
        for link in links:
            await link._wire.stop()
        raise failure

    def leave_blocking(self, ending: BaseException | None = None) -> BaseException | None:
        """The same on a thread that may wait. Raises RuntimeError where its loop runs in this one."""
        self._begin_to_end(ending, where())
        ended, interrupt = threading.Event(), None
        self.set_when_over(ended)
        until = time.monotonic() + self._limit()
        self._leaving += 1
        try:
            while not ended.is_set() and (left := until - time.monotonic()) > 0:
                try:
                    ended.wait(left)
                except KeyboardInterrupt as error:
                    until = until if interrupt is not None else min(until, time.monotonic() + _core.CANCEL_TIMEOUT)
                    interrupt = error
        finally:
            self._leaving -= 1
        if interrupt is not None or self.over.is_set():
            return interrupt
        links, failure = self._give_up()
        for link in links:
            link.sync.stop()
        raise failure

    def _begin_to_end(self, ending: BaseException | None, here: Where | None) -> None:
        self.check_process()
        if self in (current.line() if (current := current_host()) is not None else ()):
            raise RuntimeError(f"{self.name} cannot be stopped from inside its own lifespan: raise, or return")
        if not self.over.is_set():
            self.check_free(here)
        self.tell(ending)

    def _limit(self) -> float:
        return self.close_timeout + ANSWER if self._runs() else ANSWER

    def _give_up(self) -> tuple[list[Link[Any]], CleanupTimeout]:
        """It does not end: its links are closed under it. Gives them, and the error."""
        why = f"it did not end within {self._limit():.3g} s" if self._runs() else "its event loop does not run"
        links = present(self.links)
        self.tear_down(why)
        what = f"{self.name} was closed without its closing part: {why}; its links were parked and closed"
        return links, CleanupTimeout(what, stuck=[self.name], link=self.name)

    async def _wait_over(self, limit: float) -> BaseException | None:
        """Wait until it is over, for `limit` seconds; what came meanwhile."""
        interrupt: BaseException | None = None
        until = _core.monotonic() + limit
        while not self.over.is_set() and (left := until - _core.monotonic()) > 0:
            try:
                if interrupt is None:
                    await self._over_within(left)
                else:
                    with anyio.CancelScope(shield=True):
                        await self._over_within(left)
            except GeneratorExit:
                raise
            except BaseException as error:
                if interrupt is None:
                    until = min(until, _core.monotonic() + _core.CANCEL_TIMEOUT)
                interrupt = error
        return interrupt

    async def _over_within(self, seconds: float) -> None:
        if _core.in_trio():
            with anyio.move_on_after(seconds):
                await self.over.wait()
            return
        # No scope of anyio's, which would hold this task for ever where its loop goes first.
        either = _core.Event(f"the end of {self.name}")
        self.set_when_over(either)
        timer = asyncio.get_running_loop().call_later(seconds, either.set)
        try:
            await either.wait()
        finally:
            timer.cancel()

    def _runs(self) -> bool:
        """Whether its loop runs."""
        if self._loop is None:
            return True
        loop = self._loop()
        return loop is not None and loop.is_running()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The asyncio loop it lives in, if that is still there."""
        return None if self._loop is None else self._loop()

    def tear_down(self, why: str) -> None:
        """Python cannot close it: Rust parks and closes its links. Does not wait; from anywhere."""
        if self.over.is_set():
            return
        self.reason = why
        self.torn = True
        for link in present(self.links):
            _core.belong_to(link._wire, 0)
            link._wire.forget()
        self.links.clear()
        lifespan_log(self, f"its closing part did not run: {why}; its links are parked and closed")
        self._finish()

    def _rung(self) -> None:
        """Called in its loop. A setup that is to end is cancelled; once, for what it then does has its time."""
        if self._cut is not None and not self._was_cut and self._told.is_set() and self.state == "opening":
            self._was_cut = self._cut()

    def _finish(self) -> None:
        self.state = "closed"
        self.ended = _core.monotonic()
        self.value = None
        self._cut = self._shelter = None
        home = None if self._home is None else self._home()
        if home is not None:
            home.leave()
        self.entered.set()
        self.over.set()
        for event in self._ends:
            event.set()

    def __repr__(self) -> str:
        return f"<Host {self.name}: {self.state}>"
