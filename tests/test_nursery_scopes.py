"""Nurseries and cancel scopes, as trio and anyio have them: around, inside and across nurseries, shields, deadlines,
cancellation while a nursery is being left. The scenarios are those of anyio's and trio's own tests."""

import anyio
import pytest

import labtether as lt
from support.nurseries import Stubborn, forever, in_time, nothing_left, settled, value_of


async def test_a_scope_around_it_ends_it_and_its_children() -> None:
    async with in_time():
        with anyio.CancelScope() as scope:
            async with lt.open_nursery("inside") as nursery:
                handle = nursery.start_soon(forever)
                await settled()
                scope.cancel()
                await forever()
        assert scope.cancelled_caught
        assert isinstance(await handle.outcome(), lt.Cancelled)
        await nothing_left("inside")


async def test_a_scope_around_it_that_is_cancelled_while_it_waits_for_its_children() -> None:
    async with in_time():
        with anyio.CancelScope() as scope:
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(forever)

                async def cancel() -> None:
                    await settled()
                    scope.cancel()

                nursery.start_soon(cancel)
        assert scope.cancelled_caught
        assert isinstance(await handle.outcome(), lt.Cancelled)


async def test_a_scope_that_was_cancelled_before_the_nursery_was_opened() -> None:
    reached: list[str] = []

    async def child() -> None:
        reached.append("begins")
        await anyio.lowlevel.checkpoint()
        reached.append("goes on")

    async with in_time():
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with lt.open_nursery() as nursery:
                nursery.start_soon(child)
        assert reached == ["begins"]
        assert scope.cancel_called
        await nothing_left("nursery")


async def test_a_scope_that_was_cancelled_before_it_was_entered() -> None:
    async with in_time():
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with lt.open_nursery() as nursery:
                nursery.start_soon(forever)
                await forever()
                pytest.fail("went on")
        assert scope.cancelled_caught


async def test_a_deadline_around_it_raises_alone() -> None:
    async with in_time():
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0):
                async with lt.open_nursery() as nursery:
                    nursery.start_soon(forever)


async def test_move_on_after_around_it_is_silent() -> None:
    async with in_time():
        with anyio.move_on_after(0) as scope:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(forever)
        assert scope.cancelled_caught


async def test_a_scope_inside_the_block_leaves_the_children_alone() -> None:
    go = anyio.Event()
    done: list[str] = []

    async def child() -> None:
        await go.wait()
        done.append("child")

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(child)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await forever()
        assert scope.cancelled_caught
        assert nursery.reason is None
        go.set()
    assert done == ["child"]


async def test_a_child_started_inside_a_cancelled_scope_belongs_to_the_nursery() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        with anyio.CancelScope() as scope:
            scope.cancel()
            handle = nursery.start_soon(value_of, "not cancelled")
            await anyio.lowlevel.checkpoint()
        assert await handle == "not cancelled"


async def test_a_scope_in_a_child_that_somebody_else_cancels() -> None:
    scopes: list[anyio.CancelScope] = []

    async def child() -> str:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await forever()
        return "went on"

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(child)
        await settled()
        scopes[0].cancel()
        assert await handle == "went on"
        assert nursery.reason is None


async def test_a_childs_own_deadline_is_its_own_affair() -> None:
    async def child() -> str:
        with anyio.move_on_after(0):
            await forever()
        return "moved on"

    async with in_time(), lt.open_nursery() as nursery:
        assert await nursery.start_soon(child) == "moved on"


async def test_level_cancellation_a_child_that_goes_on_is_cancelled_again() -> None:
    times = 0

    async def child() -> None:
        nonlocal times
        for _ in range(3):
            try:
                await forever()
            except BaseException:
                times += 1
        await forever()

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(child)
        await settled()
        nursery.cancel()
    assert times == 3
    assert isinstance(await handle.outcome(), lt.Cancelled)


async def test_a_child_cancelled_before_it_began_runs_to_its_first_await() -> None:
    reached: list[int] = []

    async def child() -> None:
        reached.append(1)
        await anyio.lowlevel.checkpoint()
        reached.append(2)

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.cancel()
    assert reached == [1]


async def test_a_cancelled_block_is_cancelled_at_its_next_await() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        nursery.cancel()
        await anyio.lowlevel.checkpoint()
        pytest.fail("went on")


async def test_a_child_started_in_a_cancelled_nursery_is_cancelled_too() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        nursery.cancel("over")
        handle = nursery.start_soon(forever)
    assert await handle.outcome() == lt.Cancelled("over")


async def test_a_shielded_block_is_not_cancelled_with_its_nursery() -> None:
    ready, go = anyio.Event(), anyio.Event()

    async def cancel() -> None:
        await ready.wait()
        nursery.cancel()
        go.set()

    shielded = after = False
    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(cancel)
        with anyio.CancelScope(shield=True):
            ready.set()
            await go.wait()
            await anyio.lowlevel.checkpoint()
            shielded = True
        await anyio.lowlevel.checkpoint()
        after = True
    assert shielded
    assert not after


async def test_a_nursery_in_a_shield_outlives_the_cancellation_around() -> None:
    finished: list[str] = []

    async def child() -> None:
        await cancelled.wait()
        await settled()
        finished.append("child")

    cancelled = anyio.Event()
    async with in_time():
        with anyio.CancelScope() as outer:
            with anyio.CancelScope(shield=True):
                async with lt.open_nursery() as nursery:
                    handle = nursery.start_soon(child)
                    outer.cancel()
                    cancelled.set()
                assert nursery.reason is None
                assert await handle.outcome() == lt.Ok(None)
            await forever()
        assert finished == ["child"]
        assert outer.cancelled_caught


async def test_a_shield_that_is_taken_away_lets_the_cancellation_in() -> None:
    async with in_time():
        with anyio.CancelScope() as outer:
            with anyio.CancelScope(shield=True) as shield:
                async with lt.open_nursery() as nursery:
                    handle = nursery.start_soon(forever)
                    outer.cancel()
                    await settled()
                    assert not handle.done
                    shield.shield = False
        assert outer.cancelled_caught
        assert handle.done


async def test_a_scope_cancelled_directly_ends_although_it_is_a_shield() -> None:
    async with in_time():
        with anyio.CancelScope(shield=True) as scope:
            async with lt.open_nursery() as nursery:
                nursery.start_soon(forever)
                scope.cancel()
        assert scope.cancelled_caught


async def test_a_child_in_a_shield_is_waited_for() -> None:
    gate = anyio.Event()
    child = Stubborn(gate.wait)

    async def open_the_gate() -> None:
        with anyio.CancelScope(shield=True):
            await child.cancelled.wait()
            await settled()
            assert not child.ended
            gate.set()

    async with in_time(), lt.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(open_the_gate)
        await child.waits.wait()
        nursery.cancel()
    assert child.ended


async def test_cancelled_twice_is_cancelled_once() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(forever)
        nursery.cancel("first")
        nursery.cancel("second")
        await forever()
    assert nursery.reason == "first"
    assert await handle.outcome() == lt.Cancelled("first")


async def test_cancelled_while_it_waits_for_its_children() -> None:
    async def cancel() -> None:
        await settled()
        nursery.cancel("by a child")

    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(forever)
            nursery.start_soon(cancel)
        assert await handle.outcome() == lt.Cancelled("by a child")


async def test_cancelled_by_its_last_child_in_its_last_step() -> None:
    async def cancel() -> str:
        nursery.cancel()
        return "done"

    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(cancel)
        assert await handle == "done"
