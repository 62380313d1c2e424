"""The means by which an await is cancelled, for the matrix in `test_cancel.py`; as a control, each ends a plain sleep.

A means starts the await in a task of its own, has `drive` say when, and checks where the cancellation ended up.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest
import trio

from support import LoopCounter

BOUND = 1.0
"""Seconds within which a cancelled await ends; half of what makes it give Rust up."""

Drive = Callable[[], Awaitable[None]]


@dataclass
class Attempt:
    """One await that may be cancelled, seen from inside its task. `work` calls `here()` right before the await."""

    work: Callable[["Attempt"], Awaitable[object]]
    early: bool = False
    """Cancel right before the await, from inside the task."""
    fire: Callable[[], object] = lambda: None
    value: object = None
    """What the await gave, if it did: recorded in the step in which it came, so no cancellation can lose it here."""
    error: BaseException | None = None
    over: bool = False
    seconds: float = math.nan
    """From the cancellation to the end."""
    loop: LoopCounter = field(default_factory=LoopCounter)
    reached: anyio.Event = field(default_factory=lambda: anyio.Event())
    _fired: float = math.nan

    def here(self) -> None:
        """The await under test is next."""
        if self.early:
            self.cancel()
        self.reached.set()

    def cancel(self) -> None:
        """Cancel it, if it is not over; from here on the turns of the loop are counted."""
        if self.over or not math.isnan(self._fired):
            return
        self._fired = time.monotonic()
        self.loop.__enter__()
        self.fire()

    async def run(self) -> None:
        """The await, in whatever scope the means has put around it."""
        try:
            self.value = await self.work(self)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.over = True
            if not math.isnan(self._fired):
                self.seconds = time.monotonic() - self._fired
                self.loop.__exit__(None, None, None)

    @property
    def cancelled(self) -> bool:
        """Whether a cancellation came out of the await."""
        return isinstance(self.error, asyncio.CancelledError | trio.Cancelled)

    def assert_ended_well(self) -> None:
        """By its own cancellation, in time, after Rust has answered, and without keeping the loop busy meanwhile."""
        assert self.cancelled, f"not cancelled: {self.error!r}, {self.value!r}"
        assert self.seconds < BOUND
        notes = getattr(self.error, "__notes__", [])
        assert not any("did not stop" in note for note in notes), notes
        self.loop.assert_calm()


class SiblingFailed(Exception):
    """What cancels the other tasks of a group."""


async def ended(task: asyncio.Task[None]) -> None:
    """Wait for a task, not for ever, and leave its outcome alone."""
    done, _ = await asyncio.wait([task], timeout=5 * BOUND)
    assert done, "the cancelled await did not end"


# -- asyncio -------------------------------------------------------------------------------------------------------


async def task_cancel(attempt: Attempt, drive: Drive) -> None:
    task = asyncio.create_task(attempt.run())
    attempt.fire = lambda: task.cancel("by the test")
    await drive()
    await ended(task)
    if attempt.cancelled:
        assert task.cancelled()
        assert task.cancelling() == 1
        assert attempt.error is not None
        assert attempt.error.args == ("by the test",), "it raises the cancellation it was given"
    elif not task.cancelled():
        task.result()


async def task_cancel_twice(attempt: Attempt, drive: Drive) -> None:
    task = asyncio.create_task(attempt.run())

    def fire() -> None:
        task.cancel("once")
        asyncio.get_running_loop().call_soon(task.cancel, "twice")

    attempt.fire = fire
    await drive()
    await ended(task)
    if attempt.cancelled:
        assert task.cancelled()
        assert attempt.error is not None
        assert attempt.error.args in (("once",), ("twice",))
    elif not task.cancelled():
        task.result()


async def asyncio_timeout(attempt: Attempt, drive: Drive) -> None:
    async def inside() -> None:
        timed_out = False
        try:
            async with asyncio.timeout(None) as limit:
                attempt.fire = lambda: limit.reschedule(0.0)
                await attempt.run()
        except TimeoutError as error:
            timed_out = type(error) is TimeoutError
            if not timed_out:
                raise
        assert timed_out == attempt.cancelled
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # nothing of it is left to be delivered

    task = asyncio.create_task(inside())
    await drive()
    await ended(task)
    task.result()


async def task_group_failure(attempt: Attempt, drive: Drive) -> None:
    fail = asyncio.Event()
    attempt.fire = fail.set

    async def sibling() -> None:
        await fail.wait()
        raise SiblingFailed

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sibling())
            child = tasks.create_task(attempt.run())
            child.add_done_callback(lambda _: fail.set())

    task = asyncio.create_task(group())
    await drive()
    await ended(task)
    with pytest.raises(ExceptionGroup) as caught:
        task.result()
    assert [type(error) for error in caught.value.exceptions] == [SiblingFailed]


# -- anyio, on all three -------------------------------------------------------------------------------------------


async def in_anyio_scope(scope: anyio.CancelScope, fire: Callable[[], object], attempt: Attempt, drive: Drive) -> None:
    async def inside() -> None:
        with scope:
            attempt.fire = fire
            await attempt.run()
        assert scope.cancelled_caught == attempt.cancelled
        await anyio.lowlevel.checkpoint()  # nothing of it is left to be delivered

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inside)
        await drive()


async def anyio_cancel_scope(attempt: Attempt, drive: Drive) -> None:
    scope = anyio.CancelScope()
    await in_anyio_scope(scope, scope.cancel, attempt, drive)


async def anyio_move_on_after(attempt: Attempt, drive: Drive) -> None:
    scope = anyio.move_on_after(math.inf)

    def fire() -> None:
        scope.deadline = anyio.current_time()

    await in_anyio_scope(scope, fire, attempt, drive)


# -- trio ----------------------------------------------------------------------------------------------------------


async def trio_scopes(
    scopes: list[trio.CancelScope], fire: Callable[[], object], attempt: Attempt, drive: Drive
) -> None:
    outer, inner = scopes[0], scopes[-1]

    async def inside() -> None:
        if outer is inner:
            with inner:
                attempt.fire = fire
                await attempt.run()
        else:
            with outer, inner:
                attempt.fire = fire
                await attempt.run()
        assert (outer.cancelled_caught or inner.cancelled_caught) == attempt.cancelled
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inside)
        await drive()


async def trio_cancel_scope(attempt: Attempt, drive: Drive) -> None:
    scope = trio.CancelScope()
    await trio_scopes([scope], scope.cancel, attempt, drive)


async def trio_move_on_after(attempt: Attempt, drive: Drive) -> None:
    scope = trio.move_on_after(math.inf)

    def fire() -> None:
        scope.deadline = trio.current_time()

    await trio_scopes([scope], fire, attempt, drive)


async def trio_cancel_twice(attempt: Attempt, drive: Drive) -> None:
    outer, inner = trio.CancelScope(), trio.CancelScope()

    def fire() -> None:
        inner.cancel()
        trio.lowlevel.current_trio_token().run_sync_soon(outer.cancel)

    await trio_scopes([outer, inner], fire, attempt, drive)


async def trio_nursery_failure(attempt: Attempt, drive: Drive) -> None:
    fail = trio.Event()
    attempt.fire = fail.set

    async def sibling() -> None:
        await fail.wait()
        raise SiblingFailed

    async def inside() -> None:
        try:
            await attempt.run()
        finally:
            fail.set()

    async def group() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sibling)
                nursery.start_soon(inside)
        assert [type(error) for error in caught.value.exceptions] == [SiblingFailed]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(group)
        await drive()


Means = Callable[[Attempt, Drive], Awaitable[None]]

ON_ALL: list[Means] = [anyio_cancel_scope, anyio_move_on_after]
ON_ASYNCIO: list[Means] = [task_cancel, task_cancel_twice, asyncio_timeout, task_group_failure, *ON_ALL]
ON_TRIO: list[Means] = [trio_cancel_scope, trio_move_on_after, trio_cancel_twice, trio_nursery_failure, *ON_ALL]

NEVER_EARLY: list[Means] = [
    # A sibling's failure is delivered by the loop: until then the await has begun, and that is the moment after it.
    task_group_failure,
    trio_nursery_failure,
]

KNOWN_AT_ONCE: list[Means] = [
    # On trio a cancelled scope is known from that moment on, a passed deadline once its loop has turned.
    trio_cancel_scope,
    trio_cancel_twice,
    anyio_cancel_scope,
]


def name(means: object) -> str:
    """For the test's id."""
    return str(getattr(means, "__name__", means))


# -- the controls --------------------------------------------------------------------------------------------------


async def end_a_sleep(means: Means, *, early: bool) -> None:
    async def sleep(attempt: Attempt) -> None:
        attempt.here()
        await anyio.sleep(60)

    async def drive() -> None:
        await attempt.reached.wait()
        attempt.cancel()

    attempt = Attempt(sleep, early=early)
    await means(attempt, drive)
    attempt.assert_ended_well()


async def let_it_finish(means: Means) -> None:
    async def work(attempt: Attempt) -> str:
        attempt.here()
        await anyio.lowlevel.checkpoint()
        return "done"

    async def drive() -> None:
        while not attempt.over:
            await anyio.lowlevel.checkpoint()
        attempt.cancel()

    attempt = Attempt(work)
    await means(attempt, drive)
    assert (attempt.value, attempt.error) == ("done", None)


@pytest.mark.asyncio_only
@pytest.mark.parametrize("means", ON_ASYNCIO, ids=name)
async def test_each_means_on_asyncio_ends_a_sleep_and_not_what_is_over(means: Means) -> None:
    await end_a_sleep(means, early=False)
    if means not in NEVER_EARLY:
        await end_a_sleep(means, early=True)
    await let_it_finish(means)


@pytest.mark.trio_only
@pytest.mark.parametrize("means", ON_TRIO, ids=name)
async def test_each_means_on_trio_ends_a_sleep_and_not_what_is_over(means: Means) -> None:
    await end_a_sleep(means, early=False)
    if means not in NEVER_EARLY:
        await end_a_sleep(means, early=True)
    await let_it_finish(means)
