"""Locks, semaphores, events and slots: owned by Rust, usable from asyncio, trio, several loops and plain threads at
once.

Who holds is the task or the thread that took; what it holds is let go of when it ends, however that is.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import Any, final

from labtether import _core
from labtether._checks import check_count, check_name
from labtether._crowd import present
from labtether._engine import ensure_started
from labtether._shown import Shown

__all__ = ["Event", "Lock", "Semaphore", "Slots", "Taking", "block", "described", "shared"]


def block(operation: Any, *args: Any) -> Any:
    """Run an async function of ours to its end on this thread.

    Raises RuntimeError at once in a thread whose loop runs: what is waited for may have to be done by that loop.
    """
    ensure_started()
    if _core.runs_a_loop():
        raise RuntimeError(
            "an event loop runs in this thread, and what is waited for may need it: await the asynchronous form instead"
        )
    return _core.block_on(operation, *args)


def described(rows: Iterable[tuple[str, str | None, float, int]]) -> str:
    """Holders or waiters in words."""
    parts = []
    for who, place, seconds, depth in rows:
        times = f" {depth} times" if depth > 1 else ""
        where = f"{place}: " if place is not None else ""
        parts.append(f"{where}{who}{times} for {seconds:.1f} s")
    return ", ".join(parts)


_shared: weakref.WeakSet[_Named] = weakref.WeakSet()


def shared() -> list[_Named]:
    """Every lock, semaphore and set of slots there is, by name."""
    return sorted(present(_shared), key=lambda one: one.name)


class _Named(Shown):
    """What all of them have."""

    __slots__ = ("__weakref__", "_name", "_places")

    def __init__(self, name: str, places: _core.Places) -> None:
        self._name = name
        self._places = places
        _shared.add(self)

    @property
    def name(self) -> str:
        """Its name, in errors and trees."""
        return self._name

    def _state(self) -> str:
        _size, holders, waiters = self._places.view()
        held = f"held by {described(holders)}" if holders else "free"
        return f"{held}; {len(waiters)} wait: {described(waiters)}" if waiters else held

    def tree(self) -> dict[str, Any]:
        """Who holds and who waits, as a dict that JSON can hold; ages in seconds."""
        size, holders, waiters = self._places.view()
        return {
            "kind": type(self).__name__.lower(),
            "name": self._name,
            "size": size,
            "holders": [{"who": who, "place": place, "age": age, "times": times} for who, place, age, times in holders],
            "waiters": [{"who": who, "place": place, "age": age} for who, place, age, _ in waiters],
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}: {self._state()}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} {self._name} is shared inside one process and cannot be pickled")


class _Block(_Named):
    """What is taken with `async with` on the object itself."""

    __slots__ = ()

    def __aenter__(self) -> _core.Operation:
        # The frame is the block: unique while it lasts, and the same when it is torn down by somebody else.
        return self._places.enter(id(sys._getframe(1)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._places.leave(id(sys._getframe(1)))

    @property
    def sync(self) -> SyncBlock:
        """The same for threads without a loop: `with lock.sync:`. Ctrl-C ends the wait.

        Raises RuntimeError in a thread whose loop runs.
        """
        return SyncBlock(self._places, self)


@final
class SyncBlock(Shown):
    """A lock or a semaphore for plain threads."""

    __slots__ = ("_of", "_taking")

    def __init__(self, places: _core.Places, of: _Named) -> None:
        self._taking = places.taking(None, True)
        self._of = of

    def __enter__(self) -> None:
        # Interrupted on the way into its block, or out of it, it is let go of with this object.
        block(self._enter)

    async def _enter(self) -> None:
        await self._taking.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._taking.leave():
            what = f"{type(self._of).__name__.lower()} {self._of.name}"
            raise RuntimeError(f"{what} is not held by who leaves it")

    def __repr__(self) -> str:
        return repr(self._of).replace(" ", ".sync ", 1)


@final
class Lock(_Block):
    """A lock: `async with lock:`, or `with lock.sync:` in a thread. Its holder may take it again.

    First come, first served. A wait that could never end raises Deadlock, with the cycle; a cancelled wait has taken
    nothing. It is let go of when the block is left, and at the latest when the task or thread that holds it ends.
    """

    __slots__ = ()

    def __init__(self, name: str | None = None) -> None:
        label = _named(name, "lock", self)
        super().__init__(label, _core.Places.lock(label))

    @property
    def locked(self) -> bool:
        """Whether anybody holds it."""
        return bool(self._places.view()[1])

    @property
    def mine(self) -> bool:
        """Whether the task or thread that asks holds it."""
        return self._places.is_mine()


@final
class Semaphore(_Block):
    """At most `n` at once: `async with semaphore:`, or `with semaphore.sync:`. First come, first served; a cancelled
    wait has taken nothing; let go of at the latest when the task or thread that holds it ends."""

    __slots__ = ()

    def __init__(self, n: int, name: str | None = None) -> None:
        check_count(n, "n")
        if n > 0xFFFF_FFFF:
            raise ValueError(f"n is at most {0xFFFF_FFFF}, not {n}")
        label = _named(name, "semaphore", self)
        super().__init__(label, _core.Places.semaphore(label, n))

    @property
    def available(self) -> int:
        """How many could be taken now."""
        size, holders, _waiters = self._places.view()
        return size - len(holders)

    def _state(self) -> str:
        size, holders, _waiters = self._places.view()
        return f"{size - len(holders)} of {size} free" + (f"; {super()._state()}" if holders else "")


@final
class Slots(_Named):
    """Named places, taken one at a time: deck positions, ports, incubator shelves.

    `async with slots.take() as place` takes the first that is free, `slots.take("A1")` that one. First come, first
    served for each place; `take` says afterwards whether it had to wait (`taking.waited`). A place that its taker
    cannot fetch any more goes to the next. A wait that could never end raises Deadlock.
    """

    __slots__ = ("_names",)

    def __init__(self, places: Iterable[str], name: str | None = None) -> None:
        if isinstance(places, str):
            raise TypeError(f"places are a list of names, not one str: [{places!r}]")
        names = [check_name(place, "a place") for place in places]
        if not names:
            raise ValueError("there has to be a place")
        twice = sorted({place for place in names if names.count(place) > 1})
        if twice:
            raise ValueError(f"each place is named once, not {', '.join(twice)}")
        self._names = tuple(names)
        label = _named(name, "slots", self)
        super().__init__(label, _core.Places.slots(label, names))

    @property
    def names(self) -> tuple[str, ...]:
        """The places, in order."""
        return self._names

    @property
    def free(self) -> tuple[str, ...]:
        """Those that nobody holds."""
        held = {place for _, place, _, _ in self._places.view()[1]}
        return tuple(place for place in self._names if place not in held)

    def take(self, place: str | None = None) -> Taking:
        """A place for one block: any, or `place`. Raises ValueError if there is no such place."""
        if place is not None:
            check_name(place, "a place")
        return Taking(self, self._places.taking(place))

    def _state(self) -> str:
        return f"{len(self.free)} of {len(self._names)} free" + (
            f"; {super()._state()}" if self._places.view()[1] else ""
        )


@final
class Taking:
    """One place of some Slots for one block, from `slots.take()`: `async with` it, or `with` its `.sync`."""

    __slots__ = ("__weakref__", "_slots", "_taking")

    def __init__(self, slots: Slots, taking: _core.Taking) -> None:
        self._slots = slots
        self._taking = taking

    def __aenter__(self) -> _core.Operation:
        return self._taking.enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._taking.leave()

    @property
    def place(self) -> str | None:
        """The place, while it is held."""
        return self._taking.place

    @property
    def waited(self) -> float:
        """For how many seconds it had to be waited for; 0.0 if it was free."""
        return self._taking.waited

    @property
    def sync(self) -> SyncTaking:
        """The same for threads without a loop."""
        return SyncTaking(self)

    def __repr__(self) -> str:
        held = f"{self.place}, waited {self.waited:.1f} s" if self.place is not None else "not held"
        return f"<Taking of {self._slots.name}: {held}>"


@final
class SyncTaking:
    """A place for one block of a plain thread."""

    __slots__ = ("_twin",)

    def __init__(self, twin: Taking) -> None:
        self._twin = twin

    def __enter__(self) -> str:
        place: str = block(self._enter)
        return place

    async def _enter(self) -> str:
        place: str = await self._twin._taking.enter()
        return place

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._twin._taking.leave()

    def __repr__(self) -> str:
        return repr(self._twin).replace(" ", ".sync ", 1)


@final
class Event(Shown):
    """Something that has not happened yet, or has, for good. `set()` may be called from anywhere, also where no loop
    runs."""

    __slots__ = ("__weakref__", "_event", "_name")

    def __init__(self, name: str | None = None) -> None:
        self._name = _named(name, "event", self)
        self._event = _core.Event(self._name)

    @property
    def name(self) -> str:
        """Its name, in trees."""
        return self._name

    def set(self) -> None:
        """It happens: everybody who waits goes on. A second time does nothing."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until it happens. If cancelled, nothing is left behind."""
        await self._event.wait()

    @property
    def sync(self) -> SyncEvent:
        """`wait()` for threads without a loop."""
        return SyncEvent(self)

    def __repr__(self) -> str:
        waiting = self._event.waiting()
        return f"<Event {self._name}: {'set' if self.is_set() else f'not set, {waiting} wait'}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"Event {self._name} is shared inside one process and cannot be pickled")


@final
class SyncEvent(Shown):
    """An event for plain threads."""

    __slots__ = ("_twin",)

    def __init__(self, twin: Event) -> None:
        self._twin = twin

    def set(self) -> None:
        """See Event.set."""
        self._twin.set()

    def is_set(self) -> bool:
        """See Event.is_set."""
        return self._twin.is_set()

    def wait(self) -> None:
        """Block until it happens; Ctrl-C ends the wait."""
        block(self._twin.wait)

    def __repr__(self) -> str:
        return repr(self._twin).replace("<Event ", "<Event.sync ", 1)


def _named(name: str | None, kind: str, of: object) -> str:
    """A name of its own for what was given none."""
    return f"{kind}-{id(of):x}" if name is None else check_name(name, "name")
