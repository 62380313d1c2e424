"""Handles: a child seen from outside. Waiting for it, its outcome, cancelling it; from tasks, loops and threads."""

from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import (
    Oops,
    Stubborn,
    fail,
    forever,
    in_time,
    settled,
    value_of,
)


async def test_awaiting_it_gives_the_value() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(value_of, 5)
        assert await handle == 5
        assert handle.done
        assert await handle == 5
        assert await handle.outcome() == lt.Ok(5)


async def test_several_tasks_await_it() -> None:
    go = anyio.Event()

    async def work() -> str:
        await go.wait()
        return "done"

    async def wait(for_what: lt.Handle[str]) -> str:
        return await for_what

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(work)
        waits = [nursery.start_soon(wait, handle) for _ in range(10)]
        await settled()
        go.set()
        assert [await one for one in waits] == ["done"] * 10


async def test_awaiting_a_failed_child_raises_its_error() -> None:
    seen: list[BaseException] = []

    async def watch() -> None:
        with anyio.CancelScope(shield=True):
            with pytest.raises(Oops) as raised:
                await handle
        seen.append(raised.value)

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(fail)
                nursery.start_soon(watch)
        assert list(raised.value.exceptions) == seen
        with pytest.raises(Oops):
            await handle
        assert await handle.outcome() == lt.Failed(seen[0])


async def test_awaiting_a_cancelled_child_says_why() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(forever)
        await settled()
        handle.cancel("the lid is open")
        with pytest.raises(anyio.TaskCancelled, match="the lid is open"):
            await handle
        assert await handle.outcome() == lt.Cancelled("the lid is open")
        assert nursery.reason is None


async def test_without_a_reason_it_still_says_something() -> None:
    async with in_time(), lt.open_nursery("run 7") as nursery:
        handle = nursery.start_soon(forever)
        handle.cancel()
        assert await handle.outcome() == lt.Cancelled("its handle was cancelled")
        other = nursery.start_soon(forever)
        nursery.cancel()
    assert await other.outcome() == lt.Cancelled("nursery run 7 was cancelled")


async def test_the_first_reason_stands() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(forever)
        handle.cancel("first")
        handle.cancel("second")
        nursery.cancel("third")
    assert await handle.outcome() == lt.Cancelled("first")


async def test_cancelling_one_leaves_its_siblings_alone() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        first, second = nursery.start_soon(forever), nursery.start_soon(forever)
        first.cancel()
        await first.outcome()
        await settled()
        assert not second.done
        second.cancel()


async def test_cancelling_waits_for_nothing_and_the_outcome_comes_when_the_work_has_ended() -> None:
    gate = anyio.Event()
    child = Stubborn(gate.wait)
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(child)
        await child.waits.wait()
        handle.cancel()
        await child.cancelled.wait()
        await settled()
        assert not handle.done
        gate.set()
        assert isinstance(await handle.outcome(), lt.Cancelled)
        assert child.ended


async def test_cancelled_before_it_began() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(forever)
        handle.cancel("not today")
        assert await handle.outcome() == lt.Cancelled("not today")


async def test_a_child_that_finishes_although_it_was_cancelled() -> None:
    async def child() -> str:
        try:
            await forever()
        except anyio.get_cancelled_exc_class():
            return "finished anyway"
        return "never"

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(child)
        await settled()
        handle.cancel()
        assert await handle == "finished anyway"


async def test_a_child_that_fails_on_being_cancelled_fails_the_nursery() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(Stubborn(fail))
                await settled()
                handle.cancel()
                await forever()
        assert isinstance(await handle.outcome(), lt.Failed)


async def test_a_child_cancels_itself() -> None:
    handles: list[lt.Handle[Any]] = []

    async def child() -> None:
        handles[0].cancel("my own wish")
        await anyio.lowlevel.checkpoint()
        pytest.fail("went on")

    async with in_time(), lt.open_nursery() as nursery:
        handles.append(nursery.start_soon(child))
        assert await handles[0].outcome() == lt.Cancelled("my own wish")


async def test_cancelling_one_that_has_ended_changes_nothing() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(value_of, 5)
            await handle
            handle.cancel("too late")
            assert await handle == 5
        handle.cancel("far too late")
        assert await handle.outcome() == lt.Ok(5)


@pytest.mark.parametrize("how", ["await", "outcome"])
async def test_a_cancelled_wait_leaves_the_child_alone(how: str) -> None:
    go = anyio.Event()

    async def work() -> int:
        await go.wait()
        return 5

    async def wait() -> None:
        await (handle if how == "await" else handle.outcome())

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(work)
        waiting = nursery.start_soon(wait)
        await settled()
        waiting.cancel("no patience")
        assert await waiting.outcome() == lt.Cancelled("no patience")
        assert not handle.done
        go.set()
        assert await handle == 5


async def test_a_wait_that_is_cancelled_later_ends_at_once() -> None:
    async with in_time(1.0), lt.open_nursery() as nursery:
        handle = nursery.start_soon(forever)
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                await settled()
                scope.cancel()

            nursery.start_soon(cancel)
            await handle
        assert scope.cancelled_caught
        assert not handle.done
        handle.cancel()
