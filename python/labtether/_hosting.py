"""The task of a host: in which one async context manager is entered, kept and left, whoever asks for that and from
wherever. Cancel scopes nest by task, and a notebook's cells are many tasks."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import weakref
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import copy_context
from functools import partial
from typing import Any, final

import anyio

from labtether import _core
from labtether._await import is_anyios
from labtether._crowd import present
from labtether._errors import CleanupTimeout, LinkClosed, LinkLost
from labtether._home import Home
from labtether._hosted import Hosted
from labtether._hosts import current_host, enter_context, live_hosts, remember
from labtether._log import lifespan_log, shown

__all__ = ["Host"]

BY_ITSELF = "a scope inside its lifespan was cancelled"
"""Why one is over that nobody has ended."""


@final
class Host(Hosted):
    """One async context manager, set up by `begin()` in the loop that runs."""

    __slots__ = ()

    def begin(self) -> None:
        """Start its task in the loop that runs. Raises RuntimeError where none does."""
        if not _core.runs_a_loop():
            raise RuntimeError(
                f"{self.name} needs a running event loop to live in; without one use `.sync`, which has its own"
            )
        remember(self)
        cm, self._cm = self._cm, None
        assert cm is not None
        if _core.in_trio():
            import trio

            trio.lowlevel.spawn_system_task(self._run, cm, name=self.name, context=copy_context())
            return
        # Now, and not while it ends: it takes an import.
        anyio.get_cancelled_exc_class()
        loop = asyncio.get_running_loop()
        self._loop = weakref.ref(loop)
        task = _Task(self._run(cm), loop=loop, name=self.name)
        task.host = self
        # A loop may be closed under it; that is told here, in better words.
        task._log_destroy_pending = False  # type: ignore[attr-defined]

    async def _run(self, cm: AbstractAsyncContextManager[Any]) -> None:
        error: BaseException | None = None
        try:
            enter_context(self)
            try:
                home = Home(self.key, self._rung)
                self._home = weakref.ref(home)
                del home
                await (self._run_in_trio(cm) if self._loop is None else self._run_in_asyncio(cm))
            except GeneratorExit:
                raise
            except BaseException as raised:
                error = raised
            try:
                await self._release(error)
            except GeneratorExit:
                raise
            except BaseException as raised:
                # Ctrl-C, maybe: whoever waits is told all the same.
                error = error or raised
        except GeneratorExit:
            self.tear_down("its event loop was torn down")
            raise
        self._settle(error)
        del error

    async def _run_in_trio(self, cm: AbstractAsyncContextManager[Any]) -> None:
        import trio

        with trio.CancelScope() as scope:
            self._cut = partial(self._cut_in_trio, scope, trio.lowlevel.current_task())
            self._shelter = partial(setattr, scope, "shield", True)
            await self._live(cm, partial(self._limit_in_trio, scope))
        if scope.cancelled_caught and self.opened:
            self._late = True
            raise self._too_slow()

    def _cut_in_trio(self, scope: Any, task: Any) -> bool:
        import trio

        if getattr(task, "_abort_func", True) is None:
            # What it waited for has come: it gets to its next wait, or to its `yield`, before it can be cancelled.
            trio.lowlevel.current_trio_token().run_sync_soon(self._rung)
            return False
        scope.cancel()
        return True

    def _limit_in_trio(self, scope: Any) -> Callable[[], None]:
        import trio

        # A run that ends cancels what is in it; from here on only the deadline does.
        scope.shield = True
        scope.deadline = trio.current_time() + self.close_timeout
        return lambda: setattr(scope, "deadline", math.inf)

    async def _run_in_asyncio(self, cm: AbstractAsyncContextManager[Any]) -> None:
        # No scope of anyio's: it is held for ever, with its task, where a loop goes before the task has ended.
        task = asyncio.current_task()
        assert task is not None
        self._cut = partial(_cancel, weakref.ref(task))
        del task
        await self._live(cm, self._limit_in_asyncio)

    def _limit_in_asyncio(self) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(self.close_timeout, self._time_is_up).cancel

    def _time_is_up(self) -> None:
        self._late = True
        if self._cut is not None:
            self._cut()

    async def _live(self, cm: AbstractAsyncContextManager[Any], limit: Callable[[], Callable[[], None]]) -> None:
        if self._told.is_set():
            return
        self.value = await cm.__aenter__()
        ending: BaseException | None = None
        if not self.over.is_set():
            self.state = "open"
            self.opened = True
            self.entered.set()
            ending = await self._until_told()
        if not self.is_ours:
            # A forked child that unwinds its parent's loop: what is open is the parent's.
            return
        if not self.over.is_set():
            self.state = "closing"
            self.ending = ending
            self._make_way()
        lift = limit()
        try:
            await cm.__aexit__(
                None if ending is None else type(ending), ending, None if ending is None else ending.__traceback__
            )
        except BaseException as error:
            # It was told of that, and had nothing to say to it.
            if error is not ending:
                raise
        finally:
            lift()
            del ending

    async def _until_told(self) -> BaseException | None:
        """Wait for the order to end; what ended the use instead, if something did."""
        while not self._told.is_set():
            try:
                await self._told.wait()
            except GeneratorExit:
                raise
            except BaseException as error:
                if not self._is_loops_end(error):
                    if not self._told.is_set():
                        self.reason = BY_ITSELF
                    return error
                around = self.parent
                if around is None or around.over.is_set() or around.where != self.where:
                    self.reason = "its event loop ended"
                    return error
                # What it is part of ends too, and still uses it for that; then it closes it.
                if self._shelter is not None:
                    self._shelter()
        return self.ending

    def _is_loops_end(self, error: BaseException) -> bool:
        if self._loop is None:
            import trio

            nursery = trio.lowlevel.current_task().parent_nursery
            return nursery is not None and nursery.cancel_scope.cancel_called
        task = asyncio.current_task()
        if is_anyios(error) or task is None or not self._outside:
            return False
        # What comes after is plain code: asyncio's own timeouts count the cancellations that are on their way.
        task.uncancel()
        return True

    def _tell_later(self) -> None:
        ipython = sys.modules.get("labtether._ipython")
        if ipython is not None:
            ipython.tell_later(self, f"{self.name} was closed: {self.reason or 'it was told to'} ({self.problem})")

    def _too_slow(self) -> CleanupTimeout:
        return CleanupTimeout(f"{self.name} did not close within {self.close_timeout:g} s", stuck=[self.name])

    def _make_way(self) -> None:
        why = f"{self.name} is being stopped"
        for host in live_hosts():
            if self not in host.line():
                continue
            for link in present(host.links):
                if link._shared is None or set(link._shared) <= {link}:
                    _core.belong_to(link._wire, host.key)
                    _core.make_way(link._wire, why)

    async def _release(self, error: BaseException | None) -> None:
        """Close what the lifespan has left open, in reverse: what was set up in it, and then its links."""
        if not self.over.is_set():
            self.state = "closing"
        interrupt: BaseException | None = None
        with anyio.CancelScope(shield=True):
            for host in reversed([host for host in live_hosts() if host.parent is self]):
                try:
                    while not host.over.is_set():
                        interrupt = await host.leave() or interrupt
                except CleanupTimeout as stuck:
                    self._failed(stuck)
                self._failed(host.take_failure())
            for link in reversed(present(self.links)):
                _core.belong_to(link._wire, 0)
                if link.state != "closed":
                    if self.opened and (self._late or not isinstance(error, Exception | None)):
                        # The closing part was cut short: Rust has the last words.
                        link._wire.forget()
                    try:
                        await link.stop()
                    except Exception as failure:
                        self._failed(failure)
                    except GeneratorExit:
                        raise
                    except BaseException as came:
                        # It is closed all the same, and so are the others.
                        interrupt = came
        if interrupt is not None and not isinstance(interrupt, anyio.get_cancelled_exc_class()):
            raise interrupt

    def _failed(self, failure: BaseException | None) -> None:
        """Something could not be closed: the first of such failures is told."""
        if self.failure is None:
            self.failure = failure

    def _settle(self, error: BaseException | None) -> None:
        """Everything is released: write down how it ended, and let those who wait go on."""
        if self.over.is_set():
            # It had been given up, and torn down.
            return
        try:
            self._write_down(error)
        finally:
            self._finish()
            del error

    def _write_down(self, error: BaseException | None) -> None:
        was_open = self.opened
        if isinstance(error, anyio.get_cancelled_exc_class()):
            error = self._cancelled(error, was_open)
        error = self.failure if error is None else error
        if was_open and error is not None and self.reason != BY_ITSELF and self._is_gone(error):
            lifespan_log(self, "its closing part could not reach the instrument", error)
            error = None
        self.failure = error
        if error is not None:
            error.add_note(f"labtether: in the lifespan of {self.name}, set up {self.place}")
            self.problem = _in_words(error)
        if was_open and self.reason is not None:
            level = logging.INFO if error is None else logging.ERROR
            lifespan_log(self, f"it was closed: {self.reason}", error, level)
        elif was_open and error is not None and self._leaving == 0:
            lifespan_log(self, "its closing part failed", error, logging.ERROR)
        if was_open and error is not None and (self.reason is not None or self._leaving == 0):
            self._tell_later()
        del error

    def _cancelled(self, error: BaseException, was_open: bool) -> Exception | None:
        """What the cancellation means that its lifespan ended with."""
        if self._late:
            return self._too_slow()
        if not was_open and self._told.is_set():
            return None
        if not was_open and (self._outside or self._is_loops_end(error)):
            self.reason = "its event loop ended while it was being set up"
            return None
        what = "closing part" if was_open else "setup"
        failure = RuntimeError(f"the {what} of {self.name} was cancelled from inside, and has not come to its end")
        failure.__cause__ = error
        return failure

    def _is_gone(self, error: BaseException) -> bool:
        """Whether it failed only because the link had."""
        if isinstance(error, BaseExceptionGroup):
            return all(self._is_gone(part) for part in error.exceptions)
        if isinstance(error, LinkClosed):
            # What a child of the lifespan was doing when it had to make way.
            return f"{self.name} is being stopped" in str(error)
        return isinstance(error, LinkLost)


class _Task(asyncio.Task[None]):
    """Whoever cancels everything in a loop does not cancel a lifespan that ends: it has its own deadline. What its own
    code cancels, by timeouts and task groups, is cancelled."""

    host: Host

    def cancel(self, msg: Any | None = None) -> bool:
        current = current_host()
        if current is None or self.host not in current.line():
            if self.host.state == "closing" and not self.host._late:
                return False
            self.host._outside = True
        return super().cancel(msg)


def _in_words(error: BaseException) -> str:
    """What went wrong; of a group, in each of its parts."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_in_words(part) for part in error.exceptions)
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return shown(error)


def _cancel(task: weakref.ref[asyncio.Task[Any]]) -> bool:
    known = task()
    return known is not None and known.cancel()
