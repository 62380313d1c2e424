"""Nurseries in nurseries, what stops where; and children that somebody else ends."""

import asyncio
import gc
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import Oops, fail, forever, in_time, nothing_left, settled


async def test_an_inner_failure_that_is_handled_leaves_the_outer_alone() -> None:
    async with in_time(), lt.open_nursery("outer") as outer:
        sibling = outer.start_soon(forever)
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery("inner") as inner:
                inner.start_soon(fail)
        await settled()
        assert not sibling.done
        assert outer.reason is None
        outer.cancel()


async def test_an_inner_failure_that_nobody_handles_ends_the_outer() -> None:
    async def middle() -> None:
        async with lt.open_nursery("inner") as inner:
            inner.start_soon(fail, "deep")

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery("outer") as outer:
                sibling = outer.start_soon(forever)
                outer.start_soon(middle)
        assert sibling.done
        (inner,) = raised.value.exceptions
        assert isinstance(inner, ExceptionGroup)
        assert "nursery 'inner'" in str(inner)
        assert [str(error) for error in inner.exceptions] == ["deep"]
        await nothing_left("outer", "inner")


async def test_cancelling_the_outer_reaches_the_innermost() -> None:
    innermost: list[lt.Handle[Any]] = []

    async def nest(depth: int) -> None:
        async with lt.open_nursery(f"depth {depth}") as nursery:
            if depth:
                nursery.start_soon(nest, depth - 1)
            else:
                innermost.append(nursery.start_soon(forever))

    async with in_time():
        async with lt.open_nursery("outer") as outer:
            outer.start_soon(nest, 5)
            while not innermost:
                await settled()
            outer.cancel("all of it")
        assert isinstance(await innermost[0].outcome(), lt.Cancelled)
        await nothing_left("outer", *(f"depth {depth}" for depth in range(6)))


async def test_cancelling_the_inner_leaves_the_outer_alone() -> None:
    async with in_time(), lt.open_nursery("outer") as outer:
        handle = outer.start_soon(forever)
        async with lt.open_nursery("inner") as inner:
            inner.start_soon(forever)
            inner.cancel()
            await forever()
        assert outer.reason is None
        assert not handle.done
        outer.cancel()


async def test_nested_in_one_block_the_inner_ends_first() -> None:
    ended: list[str] = []

    async def child(name: str) -> None:
        try:
            await forever()
        finally:
            with anyio.CancelScope(shield=True):
                await settled()
            ended.append(name)

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery("outer") as outer:
                outer.start_soon(child, "outer's")
                async with lt.open_nursery("inner") as inner:
                    inner.start_soon(child, "inner's")
                    await settled()
                    raise Oops
        assert ended == ["inner's", "outer's"]
        assert "nursery 'outer'" in str(raised.value)
        assert "nursery 'inner'" in str(raised.value.exceptions[0])


async def test_an_outer_child_that_starts_work_in_an_inner_nursery() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery("outer") as outer:
                async with lt.open_nursery("inner") as inner:

                    async def start_it() -> None:
                        inner.start_soon(fail, "in the inner")

                    outer.start_soon(start_it)
                    await forever()
        assert "nursery 'inner'" in str(raised.value.exceptions[0])


@pytest.mark.asyncio_only
async def test_a_child_that_is_cancelled_by_asyncio_itself() -> None:
    """As in anyio, the group ends with it; nothing hangs, and the handle knows."""
    tasks: list[Any] = []

    async def child() -> None:
        tasks.append(asyncio.current_task())
        await forever()

    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(child)
            await settled()
            tasks[0].cancel()
            with pytest.raises(anyio.TaskCancelled):
                with anyio.CancelScope(shield=True):
                    await handle


@pytest.mark.asyncio_only
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # anyio's own task groups leave this warning too
async def test_a_child_that_asyncio_cancels_before_it_began() -> None:
    """As in anyio, the group ends with it; its handle has an outcome."""
    async with in_time():
        async with lt.open_nursery() as nursery:
            before = asyncio.all_tasks()
            handle = nursery.start_soon(forever)
            (task,) = asyncio.all_tasks() - before
            task.cancel()
        assert isinstance(await handle.outcome(), lt.Cancelled)
        del task, handle
        gc.collect()


@pytest.mark.asyncio_only
async def test_an_error_whose_str_fails_is_still_reported() -> None:
    """trio 0.35 itself asks every error for its repr, and crashes."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

        __repr__ = __str__

    async def child() -> None:
        raise Rude

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(child)
        assert [type(error) for error in raised.value.exceptions] == [Rude]
