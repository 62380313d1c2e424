"""What the tests of locks, semaphores, slots and channels share: one face for all that is taken, tasks that take and
leave when they are told, threads that report, and waiting for a condition without guessing a time."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

import anyio
import trio

import labtether as lt

SOON = float(os.environ.get("LABTETHER_TEST_SOON", "30"))
"""Seconds after which a wait that should have ended is a failure: a guard against hanging, never a measure."""

LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


def run_on(backend: str, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """Run an async function in a new loop of this thread: "asyncio", "uvloop" or "trio"."""
    name, options = LOOPS[backend]
    return anyio.run(function, *args, backend=name, backend_options=options)


def new_loop(backend: str) -> asyncio.AbstractEventLoop:
    """A bare loop, to be closed by hand."""
    if backend == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


async def until(condition: Callable[[], object]) -> None:
    """Let others run, of this loop and of other threads, until `condition()` holds."""
    give_up = time.monotonic() + SOON
    turns = 0
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        turns += 1
        await (lt.pause() if turns % 20 else anyio.sleep(0.0005))


def until_sync(condition: Callable[[], object]) -> None:
    """The same in a thread without a loop."""
    give_up = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.0005)


async def send_or_say(channel: lt.Channel[Any], item: Any, scope: anyio.CancelScope) -> bool:
    """Send in `scope`, which may be cancelled. Whether the item was sent: also where somebody received it in the very
    instant of the cancellation, which a note on that says."""
    sent = False
    with scope:
        try:
            await channel.send(item)
            sent = True
        except BaseException as cancelled:
            notes: list[str] = getattr(cancelled, "__notes__", [])
            sent = any("sending to channel" in note for note in notes)
            raise
    return sent


async def turns(count: int = 8) -> None:
    """Let others run until a loop on its own is quiet."""
    for _ in range(count):
        await lt.pause()


class Worker(threading.Thread):
    """A thread whose failure is raised by `finish()`; as a context manager it is finished with the block."""

    def __init__(self, function: Callable[..., Any], *args: Any, name: str | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self._work = (function, args)
        self._failed: BaseException | None = None
        self.value: Any = None
        self.start()

    def run(self) -> None:
        function, args = self._work
        del self._work
        try:
            self.value = function(*args)
        except BaseException as error:
            self._failed = error

    def finish(self) -> Any:
        """Wait for its end; what it returned."""
        self.join(SOON)
        assert not self.is_alive(), f"{self.name} did not end"
        if self._failed is not None:
            raise self._failed
        return self.value

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            self.finish()


class Place:
    """A lock, a semaphore or slots, all seen the same way: something that is taken for a block."""

    def __init__(self, of: lt.Lock | lt.Semaphore | lt.Slots) -> None:
        self.of = of

    def block(self, place: str | None = None) -> AbstractAsyncContextManager[Any]:
        """What `async with` takes."""
        return self.of.take(place) if isinstance(self.of, lt.Slots) else self.of

    def sync(self, place: str | None = None) -> AbstractContextManager[Any]:
        """What `with` takes, in a thread."""
        return self.of.take(place).sync if isinstance(self.of, lt.Slots) else self.of.sync

    @property
    def holders(self) -> list[str]:
        """Who holds, the longest first."""
        return [row["who"] for row in self.of.tree()["holders"]]

    @property
    def waiters(self) -> list[str]:
        """Who waits, in order."""
        return [row["who"] for row in self.of.tree()["waiters"]]

    @property
    def is_free(self) -> bool:
        """Whether nobody holds it and nobody waits."""
        return not self.holders and not self.waiters


def waiting_are(place: Place, count: int) -> Callable[[], bool]:
    """That so many wait."""
    return lambda: len(place.waiters) == count


async def hold_for_ever(place: Place) -> None:
    async with place.block():
        await asyncio.get_running_loop().create_future()


ONES: dict[str, Callable[[], Place]] = {
    "lock": lambda: Place(lt.Lock("deck")),
    "semaphore": lambda: Place(lt.Semaphore(1, "deck")),
    "slots": lambda: Place(lt.Slots(["A1"], "deck")),
}
"""Each of the three with room for one."""


class Asker:
    """A task that takes a place and keeps it until it is told to leave, or is cancelled in one of three ways."""

    def __init__(self, place: Place, how: str = "scope", want: str | None = None) -> None:
        self.place, self.how, self.want = place, how, want
        self.state = "new"
        """new, asks, holds, left, cancelled."""
        self.got: Any = None
        self._leave = anyio.Event()
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[Any] | None = None
        self._timeout: asyncio.Timeout | None = None

    def leave(self) -> None:
        """Let go."""
        self._leave.set()

    def cancel(self) -> None:
        """Cancel it, the way that was chosen."""
        if self._task is not None:
            self._task.cancel()
        elif self._timeout is not None:
            self._timeout.reschedule(0.0)
        elif self.how == "timeout":
            self._scope.deadline = trio.current_time()
        else:
            self._scope.cancel()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("left", "cancelled")

    async def run(self) -> None:
        """The task. In trio, which has no cancellation of a task, that is the same as of a scope."""
        if self.how == "task" and not _in_trio():
            self._task = task = asyncio.current_task()
            assert task is not None
            try:
                await self._use()
            except asyncio.CancelledError:
                while task.uncancel():
                    pass
        elif self.how == "timeout" and not _in_trio():
            try:
                async with asyncio.timeout(None) as self._timeout:
                    await self._use()
            except TimeoutError:
                pass
        else:
            with self._scope:
                await self._use()
        if self.state != "left":
            self.state = "cancelled"

    async def _use(self) -> None:
        self.state = "asks"
        async with self.place.block(self.want) as self.got:
            self.state = "holds"
            await self._leave.wait()
        self.state = "left"


def _in_trio() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


async def ask(group: anyio.abc.TaskGroup, place: Place, how: str = "scope", want: str | None = None) -> Asker:
    """Start an asker and wait until it asks or holds."""
    asker = Asker(place, how, want)
    queued = len(place.waiters)
    group.start_soon(asker.run)
    await until(lambda: asker.state == "holds" or len(place.waiters) > queued)
    return asker


def in_thread_when(place: Place, then: Callable[[], Any], *, name: str = "next") -> Worker:
    """A thread that takes the place in its blocking form, then calls `then`; returns once it waits for it."""
    queued = len(place.waiters)

    def take() -> Any:
        with place.sync():
            return then()

    worker = Worker(take, name=name)
    until_sync(lambda: len(place.waiters) > queued or not worker.is_alive())
    return worker
