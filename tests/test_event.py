"""Event: it happens once, for everybody who waits, wherever it is set."""

import asyncio
import gc
import pickle
from contextlib import suppress
from functools import partial

import anyio
import pytest

import labtether as lt
from support.together import LOOPS, SOON, Worker, new_loop, run_on, until, until_sync


def waiting(event: lt.Event, count: int) -> bool:
    return f"not set, {count} wait" in repr(event)


async def test_everybody_who_waits_goes_on_in_order() -> None:
    event, order = lt.Event("door"), list[int]()

    async def wait(number: int) -> None:
        await event.wait()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(wait, number)
            if number % 10 == 9:
                await until(partial(waiting, event, number + 1))
        assert not event.is_set()
        event.set()
        assert event.is_set()
    assert sorted(order) == list(range(100))
    await event.wait()
    assert repr(event) == "<Event door: set>"


async def test_set_twice_is_set_once() -> None:
    event = lt.Event()
    event.set()
    event.set()
    await event.wait()
    assert event.is_set()


@pytest.mark.parametrize("where", [*LOOPS, "thread", "callback"])
async def test_it_is_set_from_anywhere(where: str) -> None:
    event = lt.Event("door")

    async def sets() -> None:
        event.set()

    def by_callback() -> None:
        loop = asyncio.new_event_loop()
        loop.call_soon(event.set)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()

    async with anyio.create_task_group() as group:
        group.start_soon(event.wait)
        await until(lambda: waiting(event, 1))
        match where:
            case "thread":
                worker = Worker(event.set)
            case "callback":
                worker = Worker(by_callback)
            case _:
                worker = Worker(run_on, where, sets)
    worker.finish()


def test_waiters_in_three_loops_and_two_threads() -> None:
    event = lt.Event("door")
    workers = [Worker(run_on, kind, event.wait) for kind in LOOPS] + [Worker(event.sync.wait) for _ in range(2)]
    until_sync(lambda: waiting(event, 5))
    event.sync.set()
    for worker in workers:
        worker.finish()
    assert event.sync.is_set()
    assert repr(event.sync) == "<Event.sync door: set>"


async def test_a_cancelled_wait_leaves_nothing() -> None:
    event = lt.Event("door")
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(event.wait)
        await until(lambda: waiting(event, 10))
        group.cancel_scope.cancel()
    assert waiting(event, 0)


@pytest.mark.parametrize("first", ["set", "cancel"])
async def test_set_and_cancelled_in_the_same_turn(first: str) -> None:
    event, went_on = lt.Event("door"), list[bool]()

    async def wait() -> None:
        await event.wait()
        went_on.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await until(lambda: waiting(event, 1))
        if first == "set":
            event.set()
        group.cancel_scope.cancel()
        event.set()
    assert len(went_on) <= 1
    with anyio.fail_after(SOON):
        await event.wait()


@pytest.mark.asyncio_only
async def test_a_wait_that_is_destroyed_leaves_nothing() -> None:
    event = lt.Event("door")
    task = asyncio.create_task(event.wait())
    await until(lambda: waiting(event, 1))
    task.get_coro().close()
    assert waiting(event, 0)
    task.cancel()
    with suppress(RuntimeError, asyncio.CancelledError):
        await task


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_loop_closed_under_one_who_waits(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "asyncio")
    event = lt.Event("door")
    loop = new_loop(kind)
    task = loop.create_task(event.wait())
    loop.run_until_complete(until(lambda: waiting(event, 1)))
    loop.close()
    event.set()
    del task
    gc.collect()
    assert event.is_set()


async def test_the_blocking_wait_is_refused_where_a_loop_runs() -> None:
    with pytest.raises(RuntimeError, match="an event loop runs in this thread"):
        lt.Event().sync.wait()


def test_arguments_and_pickling() -> None:
    assert lt.Event("door").name == "door"
    assert lt.Event().name.startswith("event-")
    with pytest.raises(TypeError, match="name is a str"):
        lt.Event(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        lt.Event("")
    with pytest.raises(TypeError, match="Event door is shared"):
        pickle.dumps(lt.Event("door"))
