"""Nurseries inside other scopes: cancelled while they clean up, in task groups, under asyncio's own cancellation and
timeouts, in generators. Scenarios of anyio's and trio's own tests."""

import asyncio
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import FAR, Oops, Stubborn, fail, forever, in_time, nothing_left, settled, value_of


async def test_the_scope_around_is_cancelled_while_children_clean_up() -> None:
    """A second cancellation while the first is under way must not cut the waiting short."""
    gate = anyio.Event()
    child = Stubborn(gate.wait)

    async with in_time(), anyio.create_task_group() as tasks:
        with anyio.CancelScope() as outer:

            async def again() -> None:
                await child.cancelled.wait()
                outer.cancel()
                await settled()
                assert not child.ended
                gate.set()

            tasks.start_soon(again)
            async with lt.open_nursery() as nursery:
                nursery.start_soon(child)
                await child.waits.wait()
                nursery.cancel()
        assert child.ended


async def test_after_a_cancelled_nursery_awaits_work_again() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            nursery.cancel()
            await forever()
        await anyio.lowlevel.checkpoint()
        await lt.sleep(0)
        async with lt.open_nursery() as nursery:
            assert await nursery.start_soon(value_of, 5) == 5


async def test_a_deadline_outside_and_one_inside() -> None:
    async with in_time():
        with anyio.move_on_after(0) as outer:
            with anyio.fail_after(FAR) as inner:
                async with lt.open_nursery(timeout=FAR) as nursery:
                    nursery.start_soon(forever)
        assert outer.cancelled_caught
        assert not inner.cancelled_caught


async def test_a_failure_under_a_cancelled_scope_is_not_lost() -> None:
    async def child() -> None:
        try:
            await forever()
        finally:
            raise Oops("while cancelled")

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            with anyio.CancelScope() as scope:
                async with lt.open_nursery() as nursery:
                    nursery.start_soon(child)
                    await settled()
                    scope.cancel()
        assert [str(error) for error in raised.value.exceptions] == ["while cancelled"]


async def test_a_task_group_inside_a_nursery_inside_a_task_group() -> None:
    order: list[str] = []

    async def child(name: str) -> None:
        try:
            await forever()
        finally:
            order.append(name)

    async with in_time():
        async with anyio.create_task_group() as outer:
            outer.start_soon(child, "outer")
            async with lt.open_nursery() as nursery:
                nursery.start_soon(child, "middle")
                async with anyio.create_task_group() as inner:
                    inner.start_soon(child, "inner")
                    await settled()
                    outer.cancel_scope.cancel()
    assert sorted(order) == ["inner", "middle", "outer"]


async def test_a_failure_in_a_task_group_around_it_ends_it() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with anyio.create_task_group() as tasks:
                async with lt.open_nursery("inside") as nursery:
                    handle = nursery.start_soon(forever)
                    await settled()
                    tasks.start_soon(fail)
        assert [type(error) for error in raised.value.exceptions] == [Oops]
        assert isinstance(await handle.outcome(), lt.Cancelled)
        await nothing_left("inside")


@pytest.mark.asyncio_only
async def test_asyncios_own_cancel_of_the_host_goes_through() -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await forever()
        finally:
            ended.append("child")

    async def host() -> None:
        async with lt.open_nursery() as nursery:
            nursery.start_soon(child)

    async with in_time():
        task = asyncio.create_task(host())
        await settled()
        task.cancel("by hand")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert ended == ["child"]
        await nothing_left("nursery")


@pytest.mark.asyncio_only
@pytest.mark.parametrize("where", ["block", "exit"])
async def test_asyncios_own_timeout_around_it(where: str) -> None:
    async with in_time():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                async with lt.open_nursery() as nursery:
                    nursery.start_soon(forever)
                    if where == "block":
                        await forever()
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0


@pytest.mark.asyncio_only
async def test_a_nurserys_own_cancel_leaves_no_mark_on_its_task() -> None:
    current: Any = asyncio.current_task()
    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(forever)
        nursery.cancel()
        await forever()
    assert current.cancelling() == 0


async def test_an_exception_keeps_its_context_and_cause() -> None:
    async def child() -> None:
        try:
            raise KeyError("context")
        except KeyError as error:
            raise Oops("outer") from error

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(child)
    assert isinstance(raised.value.exceptions[0].__cause__, KeyError)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


async def test_a_nursery_in_an_async_generator() -> None:
    async def numbers() -> Any:
        async with lt.open_nursery("in a generator") as nursery:
            handle = nursery.start_soon(value_of, 1)
            yield await handle
            nursery.cancel()

    async with in_time():
        assert [number async for number in numbers()] == [1]
        await nothing_left("in a generator")
