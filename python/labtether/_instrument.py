"""Instruments: a user writes one async context, `lifespan()`, and gets `async with`, `setup()`, `stop()` and the
blocking face. Where a lifespan runs is in `_hosting.py`."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from labtether import _core
from labtether._checks import check_name, check_seconds
from labtether._crowd import present
from labtether._engine import ensure_started
from labtether._errors import LinkBusy, LinkClosed
from labtether._face import calling_place, is_interactive
from labtether._hosting import Host
from labtether._hosts import current_host, is_inside
from labtether._log import lifespan_log
from labtether._own_loop import SyncInstrument
from labtether._shown import Shown

if TYPE_CHECKING:
    from labtether._link import Link

__all__ = ["Instrument", "Look", "begin", "set_up", "standing"]

F = TypeVar("F", bound=Callable[..., Any])


class Instrument(Shown):
    """One instrument, usable between setup and stop. Write `lifespan()`:

        class Scale(lt.Instrument):
            def __init__(self, port):
                self.link = lt.serial(port, 9600, framing="\\r\\n")

            async def lifespan(self):
                async with self.link:
                    await self.link.query("@")      # ready it
                    yield
                    await self.link.send("P")       # park it

            async def weigh(self) -> float:
                return await self.link.query("S", parse=lt.number)

    `async with Scale(port) as scale:` in programs; `await scale.setup()` and `await scale.stop()` in notebooks, from
    any cell, thread or loop; `with scale.sync:` where there is no event loop.

    What comes after `yield` always runs, as plain code, whatever ended the use; `self.ending` says what did. It has
    `close_timeout` seconds, cannot be cancelled from outside, and its questions do not wait for what others are owed:
    others that still wait on the links of this instrument get LinkClosed, after their aborts. Where no Python can run,
    because the loop was torn down or the process ends, Rust sends the `park` of each link instead, and closes them.

    Async methods whose names have no leading underscore raise LinkClosed, with the cause, unless it is set up.
    """

    close_timeout: ClassVar[float] = 10.0
    """Seconds for the part after `yield`, and for closing what the lifespan opened."""

    lifespan: Callable[..., Any]
    """Written by you: an async generator that yields once, when the instrument is usable. It gets what `setup()` is
    given."""

    def __init__(self, name: str | None = None) -> None:
        """name: for errors, logs and trees; None: the class's. May be forgotten by subclasses."""
        if name is not None:
            standing(self).label = check_name(name, "name")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in list(vars(cls).items()):
            if not name.startswith("_") and name not in _OWN:
                if inspect.iscoroutinefunction(member):
                    setattr(cls, name, _guarded(member))
                elif inspect.isasyncgenfunction(member):
                    setattr(cls, name, _guarded_generator(member))

    # -- Setting up and stopping ---------------------------------------------------------------------------------------

    async def setup(self, *, replace: bool | None = None, **kwargs: Any) -> Self:
        """Run the lifespan up to its `yield`, in this event loop; returns the instrument. Does nothing if it is set up.

        replace: whether idle links and instruments that are set up on the same ports are stopped for this one; None: in
        interactive sessions only. kwargs: for `lifespan()`.

        All or nothing: after a failure, a cancellation or a `stop()` meanwhile, nothing is left open. Raises what the
        lifespan raises; LinkClosed if it is stopped meanwhile; RuntimeError where no event loop runs.
        """
        await set_up(self, is_interactive() if replace is None else bool(replace), kwargs)
        return self

    async def stop(self) -> None:
        """Run the part of the lifespan after its `yield`, and close everything; wait until that is done.

        Always works: twice, in the middle of a setup, from any loop or thread, on a dead link. Raises what the closing
        part raises (a link that is gone is only logged), after everything is released; CleanupTimeout if it takes
        longer than `close_timeout`. A cancellation does not stop it, and ends the wait two seconds later.
        """
        host = standing(self).host
        if host is None:
            return
        _raise(host.ended_with(await host.leave()))

    async def __aenter__(self) -> Self:
        ensure_started()
        host, is_new = begin(self, False, {})
        if not is_new:
            host.check_process()
            age = _core.monotonic() - host.began
            raise LinkBusy(
                f"{self.name} is busy: it was set up {host.place} {age:.3g} s ago, and is entered once", link=self.name
            )
        await host.wait_entered()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        host = standing(self).host
        if host is None:
            return
        interrupt = await host.leave(error)
        if error is not None and (failure := host.take_failure()) is not None:
            error.add_note(f"labtether: and {self.name} could not be closed properly: {host.problem}")
            if not isinstance(error, Exception):
                # A cancellation may be dropped on its way, with its notes.
                lifespan_log(host, "its closing part failed", failure, logging.ERROR)
            del failure
        _raise(host.ended_with(interrupt))

    # -- Looking -------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name, in errors, logs and trees; the class's if it was given none."""
        return standing(self).label or type(self).__name__

    @name.setter
    def name(self, name: str) -> None:
        standing(self).label = check_name(name, "name")

    @property
    def state(self) -> str:
        """One of "closed", "opening", "open", "lost" (one of its links is), "closing"."""
        host = standing(self).host
        if host is None or not host.is_ours:
            return "closed"
        if host.state == "open" and any(link.state == "lost" for link in present(host.links)):
            return "lost"
        return host.state

    @property
    def ending(self) -> BaseException | None:
        """In the part after `yield`, and afterwards: the exception that ended the use; None: nothing went wrong."""
        host = standing(self).host
        return None if host is None else host.ending

    @property
    def sync(self) -> Any:
        """The same instrument with blocking methods, for code without an event loop; they can be interrupted.

        Its async methods run in a loop of labtether's own, in a thread of its own, so they may await anything.
        """
        return SyncInstrument(self)

    def __repr__(self) -> str:
        kind, name, seen = type(self).__name__, self.name, Look(self)
        parts = [kind if name == kind else f"{kind} {name}", self.state]
        if seen.age is not None:
            parts.append(f"for {seen.age:.1f} s")
            parts += [f"({', '.join(f'{link.name} {link.state}' for link in seen.links)})"] if seen.links else []
        elif seen.problem is not None:
            parts.append(f"({seen.problem})")
        return f"<{' '.join(parts)}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self.name} is a live instrument and cannot be pickled; make another one there")


class Standing:
    """How an instrument stands: all that labtether keeps in it, under one name, for the others are the user's."""

    __slots__ = ("host", "label")

    def __init__(self) -> None:
        self.host: Host | None = None
        self.label: str | None = None


def standing(instrument: Instrument) -> Standing:
    """How it stands. Made on first need: `__init__` may have been forgotten."""
    known: Standing | None = instrument.__dict__.get("_labtether")
    return instrument.__dict__.setdefault("_labtether", Standing()) if known is None else known


class Look:
    """What can be seen of an instrument from outside.

    age: seconds since it was set up, None if it is not. doing: the situation of its lifespan. links: those that it has
    opened, by name. problem: what went wrong last, in words.
    """

    def __init__(self, instrument: Instrument) -> None:
        host = standing(instrument).host
        alive = host is not None and not host.over.is_set()
        self.age = _core.monotonic() - host.began if host is not None and alive else None
        self.doing = None if host is None else host.strand.situation
        self.problem = None if host is None else host.problem
        self.links: list[Link[Any]] = [] if host is None else sorted(present(host.links), key=lambda link: link.name)


_looking = threading.Lock()
"""Of several threads that set one instrument up, one begins."""


async def set_up(instrument: Instrument, replace: bool, kwargs: dict[str, Any]) -> None:
    """See Instrument.setup."""
    ensure_started()
    while True:
        host, is_new = begin(instrument, replace, kwargs)
        if is_new:
            break
        host.check_process()
        if (current := current_host()) is not None and host in current.line():
            raise RuntimeError(f"{host.name} cannot be set up from inside its own lifespan")
        if not host.opened and not host.is_told:
            await host.wait_entered()
            return
        if host.state == "open" and instrument.state == "open" and not host.is_told:
            host.keep()
            return
        interrupt = await host.leave()
        if interrupt is not None:
            raise interrupt
        failure = host.take_failure()
        if failure is not None:
            lifespan_log(host, "its closing part failed", failure, logging.ERROR)
            del failure
    await host.wait_entered()


def begin(instrument: Instrument, replace: bool, kwargs: dict[str, Any]) -> tuple[Host, bool]:
    """Begin its lifespan, in the loop that runs, if it has none. Its host, and whether that is new."""
    host = standing(instrument).host
    if host is not None and not host.over.is_set():
        return host, False
    made = _made(instrument, replace, kwargs)
    with _looking:
        host = standing(instrument).host
        if host is not None and not host.over.is_set():
            return host, False
        made.begin()
        standing(instrument).host = made
        return made, True


def _made(instrument: Instrument, replace: bool, kwargs: dict[str, Any]) -> Host:
    limit = check_seconds(instrument.close_timeout, "close_timeout", finite=True)
    if limit is None:
        raise TypeError("close_timeout is a number of seconds, not None")
    return Host(
        instrument.name,
        type(instrument).__name__,
        _Lifespan(instrument, kwargs),
        close_timeout=limit,
        replace=replace,
        place=calling_place(),
    )


def _check_usable(instrument: Instrument, method: str) -> None:
    """Raise what says why it cannot be used; within the lifespan it always can."""
    host = standing(instrument).host
    if host is not None and host.is_ours and (host.state == "open" or is_inside(host.key)):
        return
    if host is not None:
        host.check_process()
    failure = None if host is None else host.take_failure()
    name = instrument.name
    try:
        raise LinkClosed(f"{name} is closed: {_why_closed(host)}", link=name, command=f"{method}()") from failure
    finally:
        del failure


def _why_closed(host: Host | None) -> str:
    if host is None:
        return "it is not set up; enter it with `async with`, or await its setup()"
    state = host.state
    if state != "closed":
        return "it is being stopped" if state == "closing" else "it is still being set up"
    ago = "" if host.ended is None else f" {_core.monotonic() - host.ended:.1f} s ago"
    if host.reason is not None:
        return f"{host.reason}{ago}{'' if host.problem is None else f' ({host.problem})'}; set it up again"
    if host.problem is not None:
        return f"{host.problem}{ago}; set it up again"
    return f"it was stopped{ago}; set it up again"


_OWN = frozenset({"lifespan", "setup", "stop"})


def _guarded(method: Any) -> Any:
    @functools.wraps(method)
    async def call(self: Instrument, /, *args: Any, **kwargs: Any) -> Any:
        _check_usable(self, method.__name__)
        return await method(self, *args, **kwargs)

    return call


def _guarded_generator(method: Any) -> Any:
    @functools.wraps(method)
    async def iterate(self: Instrument, /, *args: Any, **kwargs: Any) -> Any:
        _check_usable(self, method.__name__)
        values = method(self, *args, **kwargs)
        try:
            async for value in values:
                yield value
        finally:
            await values.aclose()

    return iterate


def _raise(error: BaseException | None) -> None:
    try:
        if error is not None:
            raise error
    finally:
        # The frame must not keep the error that keeps the frame.
        del error


class _Lifespan:
    """One run of an instrument's `lifespan()`, as a context manager."""

    def __init__(self, instrument: Instrument, kwargs: dict[str, Any]) -> None:
        write = f"write `async def lifespan(self): ... yield ...` in {type(instrument).__name__}"
        if not hasattr(instrument, "lifespan"):
            raise TypeError(f"{instrument.name} has no lifespan: {write}")
        made = instrument.lifespan(**kwargs)
        if inspect.iscoroutine(made):
            made.close()
            raise TypeError(f"the lifespan of {instrument.name} has no `yield`: {write}")
        if not (hasattr(made, "asend") or hasattr(made, "__aexit__")):
            raise TypeError(f"the lifespan of {instrument.name} is a {type(made).__name__}: {write}")
        self._name = instrument.name
        self._made: Any = made

    async def __aenter__(self) -> None:
        if hasattr(self._made, "__aenter__"):
            await self._made.__aenter__()
            return
        try:
            await self._made.asend(None)
        except StopAsyncIteration:
            raise RuntimeError(
                f"the lifespan of {self._name} ended without its `yield`: it yields once, when the instrument is usable"
            ) from None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Never with the error: what comes after `yield` is plain code, which finds it in `ending`.
        if hasattr(self._made, "__aexit__"):
            await self._made.__aexit__(None, None, None)
            return
        try:
            await self._made.asend(None)
        except StopAsyncIteration:
            return
        await self._made.aclose()
        raise RuntimeError(f"the lifespan of {self._name} yielded twice: it yields once, when the instrument is usable")
