"""Lock, Semaphore and Slots by their common rules: first come, first served; let go of on every way out of the block; a
wait that is cancelled at any moment has taken nothing."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from functools import partial

import anyio
import pytest

import labtether as lt
from support.together import (
    ONES,
    Asker,
    Place,
    Worker,
    ask,
    in_thread_when,
    run_on,
    turns,
    until,
    until_sync,
    waiting_are,
)

pytestmark = pytest.mark.parametrize("make", ONES.values(), ids=ONES.keys())

HOWS = ["scope", "timeout", "task"]


async def test_the_first_who_waits_is_served_first(make: Callable[[], Place]) -> None:
    place, order = make(), []

    async def take(number: int) -> None:
        async with place.block():
            order.append(number)
            await lt.pause()

    async with anyio.create_task_group() as group:
        async with place.block():
            for number in range(6):
                group.start_soon(take, number)
                await until(waiting_are(place, number + 1))
            order.append(-1)
    assert order == [-1, 0, 1, 2, 3, 4, 5]
    assert place.is_free


async def test_who_leaves_and_asks_again_comes_after_those_that_wait(make: Callable[[], Place]) -> None:
    place = make()
    async with anyio.create_task_group() as group:
        async with place.block():
            waiter = await ask(group, place)
        waiter.leave()
        async with place.block():
            assert waiter.state == "left"
    assert place.is_free


async def test_tasks_loops_and_threads_stand_in_one_queue(make: Callable[[], Place]) -> None:
    place, order = make(), []

    async def take(name: str) -> None:
        async with place.block():
            order.append(name)
            await lt.pause()

    def take_sync(name: str) -> None:
        with place.sync():
            order.append(name)

    names = ["asyncio", "thread", "trio", "task", "uvloop", "other thread"]
    async with anyio.create_task_group() as group:
        workers = []
        async with place.block():
            for queued, name in enumerate(names):
                match name:
                    case "task":
                        group.start_soon(take, name)
                    case "asyncio" | "trio" | "uvloop":
                        workers.append(Worker(run_on, name, take, name))
                    case _:
                        workers.append(Worker(take_sync, name))
                await until(waiting_are(place, queued + 1))
        await until(lambda: len(order) == len(names))
    for worker in workers:
        worker.finish()
    assert order == names
    assert place.is_free


@pytest.mark.parametrize("how", HOWS)
async def test_a_cancelled_wait_has_taken_nothing(make: Callable[[], Place], how: str) -> None:
    place = make()
    async with anyio.create_task_group() as group:
        async with place.block():
            first, second, third = [await ask(group, place, how) for _ in range(3)]
            second.cancel()
            await until(lambda: second.is_over)
            assert len(place.waiters) == 2
        await until(lambda: first.state == "holds")
        first.leave()
        await until(lambda: third.state == "holds")
        third.leave()
    assert [one.state for one in (first, second, third)] == ["left", "cancelled", "left"]
    assert place.is_free


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("first", ["grant", "cancel"])
@pytest.mark.parametrize("how", HOWS)
async def test_granted_and_cancelled_in_the_same_turn(
    make: Callable[[], Place], how: str, first: str, times: int
) -> None:
    place = make()
    async with anyio.create_task_group() as group:
        async with AsyncExitStack() as held:
            await held.enter_async_context(place.block())
            cancelled, after = await ask(group, place, how), await ask(group, place, how)
            if first == "grant":
                await held.aclose()
            for _ in range(times):
                cancelled.cancel()
            if first == "cancel":
                await held.aclose()
        await until(lambda: cancelled.is_over and after.state == "holds")
        assert cancelled.state == "cancelled"
        assert len(place.holders) == 1
        after.leave()
    assert place.is_free


@pytest.mark.parametrize("later", range(5))
@pytest.mark.parametrize("how", HOWS)
async def test_cancelled_some_turns_around_the_grant(make: Callable[[], Place], how: str, later: int) -> None:
    place = make()
    async with anyio.create_task_group() as group:
        async with AsyncExitStack() as held:
            await held.enter_async_context(place.block())
            cancelled, after = await ask(group, place, how), await ask(group, place, how)
            await held.aclose()
        await turns(later)
        cancelled.cancel()
        await until(lambda: cancelled.is_over and after.state == "holds")
        assert cancelled.state == "cancelled"
        after.leave()
    assert place.is_free


@pytest.mark.parametrize("how", HOWS)
async def test_all_that_wait_are_cancelled_as_it_is_let_go_of(make: Callable[[], Place], how: str) -> None:
    place = make()
    async with anyio.create_task_group() as group:
        async with AsyncExitStack() as held:
            await held.enter_async_context(place.block())
            askers = [await ask(group, place, how) for _ in range(10)]
            await held.aclose()
            for asker in askers:
                asker.cancel()
    assert {asker.state for asker in askers} == {"cancelled"}
    assert place.is_free
    async with place.block():
        pass


async def test_one_that_is_cancelled_before_it_asks_takes_nothing(make: Callable[[], Place]) -> None:
    place = make()
    entered = False
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with place.block():
            entered = True
            await lt.pause()
    # asyncio delivers a cancellation at the first wait, and there is none if it is free.
    assert not entered or place.holders == []
    assert place.is_free


@pytest.mark.parametrize("how", HOWS)
async def test_cancelled_while_it_holds(make: Callable[[], Place], how: str) -> None:
    place = make()
    async with anyio.create_task_group() as group:
        holder, after = await ask(group, place, how), await ask(group, place, how)
        holder.cancel()
        await until(lambda: holder.is_over and after.state == "holds")
        after.leave()
    assert holder.state == "cancelled"
    assert place.is_free


class Oops(Exception):
    """What goes wrong in a block."""


async def test_let_go_of_on_every_way_out_of_the_block(make: Callable[[], Place]) -> None:
    place = make()

    async def returns() -> None:
        async with place.block():
            return

    async def fails() -> None:
        async with place.block():
            raise Oops

    async def breaks() -> None:
        while True:
            async with place.block():
                break

    async def generates() -> AsyncGenerator[int]:
        async with place.block():
            yield 1

    async def is_cancelled() -> None:
        with anyio.CancelScope() as scope:
            async with place.block():
                scope.cancel()
                await anyio.sleep_forever()

    await returns()
    assert place.is_free
    with pytest.raises(Oops):
        await fails()
    assert place.is_free
    await breaks()
    assert place.is_free
    await is_cancelled()
    assert place.is_free
    async with contextlib.aclosing(generates()) as numbers:
        assert await anext(numbers) == 1
        assert len(place.holders) == 1
    assert place.is_free


async def test_a_coroutine_that_is_closed_in_its_own_task_lets_go(make: Callable[[], Place]) -> None:
    place = make()

    async def holds() -> None:
        async with place.block():
            await anyio.sleep_forever()

    coroutine = holds()
    coroutine.send(None)
    assert not place.is_free
    coroutine.close()
    assert place.is_free


async def stepped_in_vain(task: asyncio.Task[None]) -> None:
    """The end of a task whose coroutine was closed under it."""
    task.cancel()
    with contextlib.suppress(RuntimeError, asyncio.CancelledError):
        await task


@pytest.mark.asyncio_only
async def test_a_wait_that_is_destroyed_leaves_the_queue(make: Callable[[], Place]) -> None:
    place = make()

    async def waits() -> None:
        async with place.block():
            pass

    async with anyio.create_task_group() as group:
        async with place.block():
            waiter = asyncio.create_task(waits())
            await until(lambda: len(place.waiters) == 1)
            after = await ask(group, place)
            waiter.get_coro().close()
            assert len(place.waiters) == 1
        await until(lambda: after.state == "holds")
        after.leave()
        await stepped_in_vain(waiter)
    assert place.is_free


@pytest.mark.asyncio_only
async def test_a_wait_that_is_destroyed_when_it_was_granted_hands_it_on(make: Callable[[], Place]) -> None:
    place = make()

    async def waits() -> None:
        async with place.block():
            pass

    async with anyio.create_task_group() as group:
        async with AsyncExitStack() as held:
            await held.enter_async_context(place.block())
            waiter = asyncio.create_task(waits())
            await until(lambda: len(place.waiters) == 1)
            after = await ask(group, place)
            await held.aclose()
            waiter.get_coro().close()
        await until(lambda: after.state == "holds")
        after.leave()
        await stepped_in_vain(waiter)
    assert place.is_free


def test_threads_hand_over(make: Callable[[], Place]) -> None:
    place, order = make(), list[int]()
    with contextlib.ExitStack() as workers:
        with place.sync():
            for number in range(4):
                workers.enter_context(in_thread_when(place, partial(order.append, number)))
        until_sync(lambda: len(order) == 4)
    assert order == [0, 1, 2, 3]
    assert place.is_free


def test_an_exception_in_the_block_of_a_thread_lets_go(make: Callable[[], Place]) -> None:
    place = make()
    with pytest.raises(Oops):
        with place.sync():
            raise Oops
    assert place.is_free


async def test_the_blocking_form_is_refused_where_a_loop_runs(make: Callable[[], Place]) -> None:
    place = make()
    with pytest.raises(RuntimeError, match="an event loop runs in this thread"):
        with place.sync():
            pass
    assert place.is_free


async def test_asking_for_what_is_free_costs_no_turn_of_the_loop_and_still_sees_a_cancellation(
    make: Callable[[], Place],
) -> None:
    place = make()
    done = 0
    with anyio.move_on_after(0.01):
        while True:
            async with place.block():
                done += 1
            if done % 10 == 0:
                await lt.pause()
    assert done > 0
    assert place.is_free


async def test_many_cancelled_waits_leave_an_empty_queue(make: Callable[[], Place]) -> None:
    place = make()
    async with place.block():
        async with anyio.create_task_group() as group:
            askers = [Asker(place) for _ in range(500)]
            for asker in askers:
                group.start_soon(asker.run)
            await until(lambda: len(place.waiters) == 500)
            group.cancel_scope.cancel()
        assert place.waiters == []
        assert len(place.holders) == 1
    assert place.is_free
