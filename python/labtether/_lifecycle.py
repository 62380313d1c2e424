"""The lifecycle as users see it: `lt.lifecycle`, and `lt.setup` and `lt.stop` for several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, TypeVar, cast, final

import anyio

from labtether._crowd import present
from labtether._engine import ensure_started
from labtether._errors import LinkClosed
from labtether._face import calling_place, is_interactive
from labtether._hosted import Hosted
from labtether._hosting import Host
from labtether._hosts import set_up_links, where, wholes
from labtether._instrument import Instrument, begin, standing
from labtether._link import Link
from labtether._outcome import Failed, Outcome
from labtether._own_loop import leave, run_blocking
from labtether._race import gather, outcomes
from labtether._shown import Shown
from labtether._tree import Tree, lifecycle_tree

__all__ = ["Lifecycle", "SyncLifecycle", "lifecycle", "setup", "stop"]

T = TypeVar("T")

# What `enter()` was given may take so long to close.
CLOSING = 10.0


async def setup(*things: Any, replace: bool | None = None) -> tuple[Any, ...]:
    """Set up several links and instruments at once: all, or none. Returns them, in order.

    replace: see Link.setup. If one fails, or this is cancelled, those that this call has set up are stopped before it
    raises: the error, or an ExceptionGroup if several failed. What was set up before is left alone.
    """
    _check(things, "setup")
    ensure_started()
    closed = [thing for thing in things if thing.state in ("closed", "closing", "lost")]
    ours: list[tuple[Callable[[], Any], Host | None]]
    ours = [(thing.stop, None) for thing in closed if isinstance(thing, Link)]
    # One that has been begun is waited for, and not set up: it may have failed before it is waited for.
    waits: dict[int, Callable[[], Any]] = {id(thing): partial(thing.setup, replace=replace) for thing in things}
    try:
        for thing in closed:
            if isinstance(thing, Instrument):
                # In order, so that they are closed in reverse.
                host, is_new = begin(thing, is_interactive() if replace is None else bool(replace), {})
                if is_new:
                    ours.append((partial(_leave, host), host))
                    waits[id(thing)] = host.wait_entered
                elif host.state in ("closing", "open"):
                    # It ends, or is lost, and is set up anew.
                    ours.append((thing.stop, None))
        await gather(*waits.values())
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            undone = await outcomes(*(leave for leave, _ in reversed(ours)))
        failed = {id(one): one for one in error.exceptions} if isinstance(error, BaseExceptionGroup) else {}
        notes: list[str] = []
        for outcome, (_, left) in zip(undone, reversed(ours), strict=True):
            if not isinstance(outcome, Failed):
                continue
            if failed and left is not None and not left.opened:
                # The first failure ended the wait for this one, which had failed as well.
                failed[id(outcome.error)] = outcome.error
            else:
                notes.append(f"labtether: and then, while it was undone: {outcome.error!r}")
        told = error
        if isinstance(error, BaseExceptionGroup):
            whole = error if len(failed) == len(error.exceptions) else error.derive(list(failed.values()))
            told = whole.exceptions[0] if len(failed) == 1 else whole
        for note in notes:
            told.add_note(note)
        if told is error:
            raise
        raise told from told.__cause__
    return things


async def stop(*things: Any) -> None:
    """Stop several links and instruments at once; without arguments everything: the instruments, then the links that
    are left.

    All are stopped, whatever becomes of the others; then the error is raised, or an ExceptionGroup if several failed.
    """
    if things:
        _check(things, "stop")
        _raise(_failures(await outcomes(*(thing.stop for thing in reversed(things)))))
        return
    ended: list[Outcome[Any]] = []
    try:
        ended += await outcomes(*(partial(_leave, host) for host in reversed(wholes())))
    finally:
        with anyio.CancelScope(shield=True):
            ended += await outcomes(*(link.stop for link in present(set_up_links) if link.state != "closed"))
    _raise(_failures(ended))


async def _leave(host: Hosted) -> None:
    error = host.ended_with(await host.leave())
    if error is not None:
        raise error


def _check(things: tuple[Any, ...], verb: str) -> None:
    for thing in things:
        if not isinstance(thing, Link | Instrument):
            cure = "; for other context managers: lt.lifecycle.enter()" if hasattr(thing, "__aenter__") else ""
            raise TypeError(f"{verb} takes links and instruments, not {type(thing).__name__}{cure}")


def _failures(ended: list[Outcome[Any]]) -> list[BaseException]:
    return [outcome.error for outcome in ended if isinstance(outcome, Failed)]


def _raise(failures: list[BaseException]) -> None:
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} could not be stopped properly", failures)


@final
class Lifecycle(Shown):
    """The hidden root of everything that is set up. There is one: `lt.lifecycle`."""

    __slots__ = ("_entered", "_lock")

    def __init__(self) -> None:
        self._entered: list[tuple[Any, Host]] = []
        self._lock = threading.Lock()

    async def enter(self, cm: AbstractAsyncContextManager[T]) -> T:
        """Enter any async context manager, in a task of its own, and give what it gives: until `exit()`, `lt.stop()`,
        the end of this event loop or of the process. Cells, threads and other loops may exit what another entered.

        All or nothing: if entering fails or is cancelled, nothing stays entered. A link or an instrument is set up.
        Raises TypeError for what is no async context manager, RuntimeError where no event loop runs.
        """
        if not hasattr(type(cm), "__aenter__") or not hasattr(type(cm), "__aexit__"):
            raise TypeError(f"enter() takes an async context manager, not {type(cm).__name__}")
        ensure_started()
        thing: Any = cm
        if isinstance(thing, Link | Instrument):
            return cast("T", await thing.setup())
        label = getattr(cm, "name", None)
        name = label if isinstance(label, str) else _described(cm)
        place = calling_place()
        host = Host(name, "entered", cm, close_timeout=CLOSING, replace=is_interactive(), place=place)
        host.begin()
        await host.wait_entered()
        value: T = host.value
        with self._lock:
            self._entered = [(known, one) for known, one in self._entered if not one.over.is_set()]
            self._entered += [(known, host) for known in (cm, value) if known is not None]
        return value

    async def exit(self, entered: Any) -> None:
        """Leave what was entered: the context manager, or what it gave. Waits until it has been left; always works.

        Raises what leaving raises; LinkClosed for what was not entered, or was left already.
        """
        if isinstance(entered, Link | Instrument):
            await entered.stop()
            return
        with self._lock:
            host = next((host for known, host in self._entered if known is entered and not host.over.is_set()), None)
        if host is None:
            raise LinkClosed(f"{type(entered).__name__} was not entered here, or has been left")
        try:
            await _leave(host)
        finally:
            with self._lock:
                self._entered = [(known, one) for known, one in self._entered if not one.over.is_set()]

    def tree(self) -> Tree:
        """Everything that is alive: instruments, nurseries, tasks that say what they do, links, threads, locks that are
        held."""
        return lifecycle_tree()

    @property
    def sync(self) -> SyncLifecycle:
        """The same for code without an event loop."""
        return SyncLifecycle()

    def __repr__(self) -> str:
        return f"<lifecycle: {len(self.tree().children)} alive>"


def _described(cm: Any) -> str:
    function = getattr(cm, "func", None)
    return str(getattr(function, "__qualname__", type(cm).__qualname__)).rpartition(".")[2]


@final
class SyncLifecycle:
    """Setting up and stopping, blocking: from `lt.lifecycle.sync`. Instruments then live in labtether's own loop."""

    __slots__ = ()

    def setup(self, *things: Any, replace: bool | None = None) -> tuple[Any, ...]:
        """See lt.setup."""
        _check(things, "setup")
        closed = [thing for thing in things if thing.state in ("closed", "lost")]
        try:
            done: tuple[Any, ...] = run_blocking(setup, *things, replace=replace)
        except Exception:
            raise
        except BaseException:
            # Ctrl-C, maybe in the instant after they were set up.
            for thing in reversed(closed):
                thing.sync.stop()
            raise
        return done

    def stop(self, *things: Any) -> None:
        """See lt.stop. Raises RuntimeError in a thread whose running loop is needed."""
        _check(things, "stop")
        known = [standing(thing).host for thing in things if isinstance(thing, Instrument)] if things else wholes()
        hosts = [host for host in known if host is not None and not host.over.is_set()]
        for host in hosts:
            host.check_free(where())
        interrupt: BaseException | None = None
        failures: list[BaseException] = []
        for host in reversed(hosts):
            try:
                interrupt = leave(host) or interrupt
                problem = host.take_failure()
            except Exception as error:
                problem = error
            failures += [] if problem is None else [problem]
        try:
            run_blocking(stop, *things)
        except BaseExceptionGroup as several:
            failures += several.exceptions
        except Exception as error:
            failures.append(error)
        except BaseException as error:
            interrupt = error
        if interrupt is not None:
            for failure in failures:
                interrupt.add_note(f"labtether: and {failure!r}")
            raise interrupt
        _raise(failures)

    def enter(self, cm: AbstractAsyncContextManager[T]) -> T:
        """See Lifecycle.enter."""
        try:
            value: T = run_blocking(lifecycle.enter, cm)
        except Exception:
            raise
        except BaseException:
            with suppress(LinkClosed):
                self.exit(cm)
            raise
        return value

    def exit(self, entered: Any) -> None:
        """See Lifecycle.exit."""
        run_blocking(lifecycle.exit, entered)

    def __repr__(self) -> str:
        return repr(lifecycle).replace("<lifecycle", "<lifecycle.sync", 1)


lifecycle = Lifecycle()
