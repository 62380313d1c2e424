"""`nursery.start`: waiting for readiness; failures before and after it, and waits that are cancelled."""

import asyncio
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import Oops, Stubborn, forever, in_thread, in_time, nothing_left, settled, texts

Status = anyio.abc.TaskStatus[Any]


async def serve(value: Any, *, task_status: Status) -> None:
    await anyio.lowlevel.checkpoint()
    task_status.started(value)
    await forever()


async def test_it_returns_what_the_child_says() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        assert await nursery.start(serve, 7) == 7
        nursery.cancel()


async def test_without_a_value_it_is_none() -> None:
    async def child(*, task_status: Status) -> None:
        task_status.started()

    async with in_time(), lt.open_nursery() as nursery:
        assert await nursery.start(child) is None


async def test_the_child_goes_on_in_the_nursery() -> None:
    go = anyio.Event()
    done: list[str] = []

    async def child(*, task_status: Status) -> None:
        task_status.started()
        await go.wait()
        done.append("child")

    async with in_time():
        async with lt.open_nursery() as nursery:
            await nursery.start(child)
            assert done == []
            go.set()
        assert done == ["child"]


async def test_it_waits_for_readiness() -> None:
    go = anyio.Event()
    order: list[str] = []

    async def child(*, task_status: Status) -> None:
        await go.wait()
        order.append("ready")
        task_status.started()

    async def open_it() -> None:
        await settled()
        order.append("go")
        go.set()

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(open_it)
        await nursery.start(child)
        order.append("started")
    assert order == ["go", "ready", "started"]


async def test_a_failure_before_it_is_the_callers_and_bare() -> None:
    async def child(*, task_status: Status) -> None:
        await anyio.lowlevel.checkpoint()
        raise Oops("no port")

    async with in_time(), lt.open_nursery() as nursery:
        sibling = nursery.start_soon(forever)
        with pytest.raises(Oops, match="no port"):
            await nursery.start(child)
        await settled()
        assert nursery.reason is None
        assert not sibling.done
        assert nursery.children == (sibling,)
        nursery.cancel()


async def test_a_failure_in_the_first_step_is_bare_too() -> None:
    async def child(*, task_status: Status) -> None:
        raise Oops("at once")

    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(Oops, match="at once"):
            await nursery.start(child)
        assert nursery.reason is None


async def test_a_failure_after_it_is_the_nurserys() -> None:
    go = anyio.Event()

    async def child(*, task_status: Status) -> None:
        task_status.started("fine")
        await go.wait()
        raise Oops("later")

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                assert await nursery.start(child) == "fine"
                go.set()
                await forever()
        assert texts(raised.value) == ["later"]
        assert len(raised.value.exceptions) == 1


async def test_a_failure_right_after_it_in_the_same_step_is_the_nurserys() -> None:
    async def child(*, task_status: Status) -> None:
        task_status.started()
        raise Oops("at once")

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.start(child)
                await forever()
        assert texts(raised.value) == ["at once"]
        assert len(raised.value.exceptions) == 1


async def test_a_child_that_never_says_so() -> None:
    async def child(*, task_status: Status) -> None:
        await anyio.lowlevel.checkpoint()

    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises(RuntimeError, match="started"):
            await nursery.start(child)
        assert nursery.reason is None


async def test_a_child_that_says_so_twice() -> None:
    async def child(*, task_status: Status) -> None:
        task_status.started(1)
        task_status.started(2)

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.start(child)
                await forever()
        assert [type(error) for error in raised.value.exceptions] == [RuntimeError]


async def test_a_cancelled_wait_cancels_the_child_and_not_the_nursery() -> None:
    child = Stubborn(settled)

    async def start_it(*, task_status: Status) -> None:
        await child()

    async with in_time(), lt.open_nursery() as nursery:
        sibling = nursery.start_soon(forever)
        with anyio.CancelScope() as scope:
            nursery.start_soon(cancel_once, child.waits, scope)
            await nursery.start(start_it)
        assert scope.cancelled_caught
        assert child.ended
        assert nursery.children == (sibling,)
        assert nursery.reason is None
        nursery.cancel()


async def cancel_once(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def test_a_cancelled_nursery_ends_a_wait_of_its_block() -> None:
    async def child(*, task_status: Status) -> None:
        nursery.cancel("enough")
        await forever()

    async with in_time():
        async with lt.open_nursery() as nursery:
            await nursery.start(child)
            pytest.fail("went on")
        assert nursery.reason == "enough"


async def test_a_child_that_cancels_its_starter_and_says_so_in_one_step() -> None:
    """The wait is cancelled at the very moment it ends: the child must not be left behind, whichever wins."""
    async with in_time(), lt.open_nursery() as nursery:
        with anyio.CancelScope() as scope:

            async def child(*, task_status: Status) -> None:
                scope.cancel()
                task_status.started()
                await forever()

            await nursery.start(child)
        await settled()
        nursery.cancel()
    assert nursery.children == ()


async def test_a_failure_on_being_cancelled_while_starting_is_not_lost() -> None:
    async def child(*, task_status: Status) -> None:
        try:
            scope.cancel()
            await forever()
        finally:
            raise Oops("on the way out")

    async with in_time(), lt.open_nursery() as nursery:
        with pytest.raises((Oops, ExceptionGroup)) as raised:
            with anyio.CancelScope() as scope:
                await nursery.start(child)
        assert texts(raised.value) == ["on the way out"]


async def test_what_was_started_can_be_cancelled_by_its_handle() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        await nursery.start(serve, 7, name="server")
        (handle,) = nursery.children
        assert handle.name == "server"
        handle.cancel("not needed")
        assert await handle.outcome() == lt.Cancelled("not needed")
        assert nursery.reason is None


async def test_what_is_starting_can_be_cancelled_by_its_handle() -> None:
    async def child(*, task_status: Status) -> None:
        await forever()

    async def cancel() -> None:
        await settled()
        next(handle for handle in nursery.children if handle.name == "child").cancel("too slow")

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(cancel)
        with pytest.raises((RuntimeError, anyio.TaskCancelled)):
            await nursery.start(child)
        assert nursery.reason is None


async def test_a_child_may_start_another() -> None:
    values: list[Any] = []

    async def starter() -> None:
        values.append(await nursery.start(serve, "nested"))

    async with in_time(), lt.open_nursery() as nursery:
        await nursery.start_soon(starter)
        assert values == ["nested"]
        nursery.cancel()


async def test_the_block_may_end_while_a_child_starts_another() -> None:
    values: list[Any] = []
    block_is_done = anyio.Event()

    async def serve_later(*, task_status: Status) -> None:
        await block_is_done.wait()
        await settled()
        task_status.started("late")

    async def starter() -> None:
        values.append(await nursery.start(serve_later))

    async with in_time():
        async with lt.open_nursery() as nursery:
            nursery.start_soon(starter)
            await settled()
            block_is_done.set()
        assert values == ["late"]


async def test_somebody_outside_starts_a_child_in_it() -> None:
    opened, over = anyio.Event(), anyio.Event()
    nurseries: list[lt.Nursery] = []

    async def owner() -> None:
        async with lt.open_nursery("theirs") as nursery:
            nurseries.append(nursery)
            opened.set()
            await over.wait()
            nursery.cancel()

    async with in_time(), anyio.create_task_group() as tasks:
        tasks.start_soon(owner)
        await opened.wait()
        with anyio.CancelScope() as scope:
            assert await nurseries[0].start(serve, 1) == 1
            scope.cancel()  # does not reach what belongs to the nursery now
        (handle,) = nurseries[0].children
        await settled()
        assert not handle.done
        over.set()
    await nothing_left("theirs")


async def test_from_another_thread_it_says_what_to_use() -> None:
    async with in_time(), lt.open_nursery("run 7") as nursery:

        def try_it() -> None:
            coroutine = nursery.start(serve, 1)
            try:
                coroutine.send(None)
            finally:
                coroutine.close()

        with pytest.raises(RuntimeError, match=r"start\(\) of nursery 'run 7' was called outside its event loop"):
            await in_thread(try_it)


@pytest.mark.asyncio_only
async def test_asyncios_own_cancel_of_the_starter() -> None:
    child = Stubborn(settled)

    async def start_it(*, task_status: Status) -> None:
        await child()

    async def host() -> None:
        async with lt.open_nursery() as nursery:
            await nursery.start(start_it)

    async with in_time():
        task = asyncio.create_task(host())
        await child.waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert child.ended
        await nothing_left("nursery")
