"""Handles from other loops and from threads; what they say about themselves, and what became of exchanges."""

import threading
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import (
    Oops,
    fail,
    forever,
    in_other_loop,
    in_thread,
    in_time,
    notes,
    settled,
    thread,
    until,
    value_of,
)


async def test_it_keeps_its_outcome_when_the_nursery_has_ended() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.start_soon(value_of, "kept")
        assert handle.done
        assert await handle == "kept"
        assert await in_other_loop(lambda: handle.outcome()) == lt.Ok("kept")
        assert await in_thread(lambda: handle.sync.result()) == "kept"
    assert nursery.children == ()


async def test_it_keeps_its_outcome_when_the_loop_has_ended() -> None:
    handles: list[lt.Handle[int]] = []

    async def other() -> None:
        async with lt.open_nursery() as nursery:
            handles.append(nursery.start_soon(value_of, 5))

    async with in_time():
        await in_other_loop(other)
        assert await handles[0] == 5


@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_another_loop_awaits_it(other: str) -> None:
    go = anyio.Event()
    waiting = threading.Event()

    async def work() -> int:
        await go.wait()
        return 5

    async def elsewhere() -> int:
        waiting.set()
        return await handle

    async def open_it() -> None:
        await until(waiting.is_set)
        go.set()

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(work)
        nursery.start_soon(open_it)
        assert await in_other_loop(elsewhere, other) == 5


async def test_a_thread_waits_for_it_through_sync() -> None:
    go = anyio.Event()

    async def work() -> int:
        await go.wait()
        return 5

    results: list[Any] = []
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(work)
        with thread(lambda: results.append((handle.sync.result(), handle.sync.outcome(), handle.sync.done))) as raised:
            go.set()
            await until(lambda: bool(results or raised))
    assert not raised
    assert results == [(5, lt.Ok(5), True)]


async def test_a_thread_gets_the_error_of_a_child() -> None:
    async def work() -> None:
        with anyio.CancelScope(shield=True):
            await until(lambda: bool(begun))
        raise Oops("for the thread")

    def wait() -> None:
        begun.append(1)
        handle.sync.result()

    begun: list[int] = []
    async with in_time():
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(work)
                with thread(wait) as raised:
                    with anyio.CancelScope(shield=True):
                        await until(lambda: bool(raised))
        assert [str(error) for error in raised] == ["for the thread"]


async def test_sync_in_the_loops_own_thread_is_refused_while_it_runs() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(forever)
        with pytest.raises(RuntimeError, match="event loop runs in this thread"):
            handle.sync.result()
        handle.sync.cancel("enough")
        assert await handle.outcome() == lt.Cancelled("enough")


async def test_a_thread_and_another_loop_cancel_it() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        first, second, third = (nursery.start_soon(forever) for _ in range(3))
        await settled()
        await in_thread(lambda: first.cancel("by a thread"))
        assert await first.outcome() == lt.Cancelled("by a thread")

        async def elsewhere() -> lt.Outcome[Any]:
            second.cancel("by another loop")
            return await second.outcome()

        assert await in_other_loop(elsewhere) == lt.Cancelled("by another loop")
        await in_thread(lambda: third.sync.cancel("through sync"))
        assert await third.outcome() == lt.Cancelled("through sync")


async def test_it_says_what_it_does() -> None:
    go = anyio.Event()

    async def work() -> None:
        with lt.situation("heating"):
            with lt.situation("to 95 C"):
                await go.wait()

    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(work, name="cycler")
        await settled()
        assert handle.situation == "heating > to 95 C"
        assert "heating > to 95 C" in repr(handle)
        go.set()
        await handle
        assert handle.situation is None


async def test_its_repr_says_how_it_is() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery() as nursery:
                good, bad = nursery.start_soon(value_of, 5), nursery.start_soon(forever, name="pump")
                assert repr(bad).startswith("<Handle pump: running for ")
                await good
                assert repr(good) == "<Handle value_of: returned 5>"
                bad.cancel("dry")
                await bad.outcome()
                assert repr(bad) == "<Handle pump: cancelled: dry>"
                worse = nursery.start_soon(fail)
        assert repr(worse) == "<Handle fail: failed: Oops('oops')>"
        assert repr(worse.sync) == "<Handle.sync fail: failed: Oops('oops')>"


async def test_the_outcome_counts_the_time() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(anyio.sleep, 0.01)
        outcome = await handle.outcome()
    assert outcome.elapsed >= 0.009


async def test_a_query_that_was_cut_short_is_among_the_effects() -> None:
    async with in_time(), lt.link("sim://balance", name="oven") as oven, lt.open_nursery() as nursery:

        async def ask() -> None:
            await oven.query("QUIET", timeout=60)

        handle = nursery.start_soon(ask)
        await until(lambda: any(event.direction == ">" for event in oven.trace()))
        handle.cancel("enough")
        outcome = await handle.outcome()
        assert isinstance(outcome, lt.Cancelled)
        assert [(link, effect) for link, _, effect in outcome.effects] == [("oven", "unconfirmed")]
        assert outcome.effect == "unconfirmed"


async def test_a_query_that_never_began_is_no_effect_to_worry_about() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(forever)
        handle.cancel()
        outcome = await handle.outcome()
        assert isinstance(outcome, lt.Cancelled)
        assert outcome.effects == ()
        assert outcome.effect == "never_started"


async def test_a_failure_raised_again_and_again_does_not_grow() -> None:
    async with in_time():
        with pytest.raises(ExceptionGroup):
            async with lt.open_nursery() as nursery:
                handle = nursery.start_soon(fail)
        said = []
        for _ in range(3):
            with pytest.raises(Oops) as raised:
                await handle
            said.append(notes(raised.value))
        assert said[0] == said[2]
