"""`race`, `gather`, `outcomes`: several pieces of work at once, all of which have ended when the await has."""

from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import Oops, Stubborn, fail, forever, in_other_loop, in_time, settled, texts, value_of


async def test_the_first_to_finish_wins_and_the_others_are_waited_for() -> None:
    loser = Stubborn(settled)

    async def winner() -> str:
        await loser.waits.wait()
        return "first"

    async with in_time():
        assert await lt.race(winner, loser) == "first"
        assert loser.ended


async def test_it_takes_awaitables_of_every_kind() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(value_of, "handle")
        assert await lt.race(forever(), handle) == "handle"
        assert await lt.race(value_of("coroutine"), forever) == "coroutine"
        assert await lt.gather(value_of(1), lambda: value_of(2), handle) == [1, 2, "handle"]


async def test_losing_a_race_leaves_the_child_behind_a_handle_alone() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(forever)
        assert await lt.race(handle, value_of("won")) == "won"
        await settled()
        assert not handle.done
        handle.cancel()


async def test_a_failure_that_comes_first_wins_too() -> None:
    loser = Stubborn(settled)

    async def lose() -> None:
        await loser.waits.wait()
        raise Oops("first")

    async with in_time():
        with pytest.raises(Oops, match="first"):
            await lt.race(lose, loser)
        assert loser.ended


async def test_what_fails_on_being_cancelled_is_not_lost() -> None:
    loser = Stubborn(lambda: fail("cleanup"))

    async def winner() -> str:
        await loser.waits.wait()
        return "first"

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            await lt.race(winner, loser)
        assert texts(raised.value) == ["cleanup"]


async def test_a_race_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="somebody"):
        await lt.race()
    assert await lt.gather() == []
    assert await lt.outcomes() == []


@pytest.mark.parametrize("what", [lt.race, lt.gather, lt.outcomes])
@pytest.mark.parametrize("wrong", [5, None, "text"])
async def test_what_cannot_be_awaited_is_refused_before_anything_starts(what: Any, wrong: Any) -> None:
    started: list[int] = []

    async def begin() -> None:
        started.append(1)

    with pytest.raises(TypeError, match=type(wrong).__name__):
        await what(begin, value_of(1), wrong)  # the coroutine is closed: no warning
    assert started == []


@pytest.mark.parametrize("what", [lt.race, lt.gather, lt.outcomes])
async def test_cancelled_it_cancels_all_and_waits_for_them(what: Any) -> None:
    first, second = Stubborn(settled), Stubborn(settled)
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.start_soon(what, first, second)
        await first.waits.wait()
        await second.waits.wait()
        handle.cancel("enough")
        assert await handle.outcome() == lt.Cancelled("enough")
        assert first.ended
        assert second.ended


@pytest.mark.parametrize("what", [lt.race, lt.gather, lt.outcomes])
async def test_cancelled_before_it_began_every_coroutine_is_closed(what: Any) -> None:
    async with in_time():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await what(forever(), forever())
        assert scope.cancelled_caught


async def test_gather_gives_values_in_order() -> None:
    async def slow() -> str:
        await settled()
        return "slow"

    async with in_time():
        assert await lt.gather(slow, value_of("fast")) == ["slow", "fast"]


async def test_gather_cancels_the_others_at_the_first_failure() -> None:
    other = Stubborn(settled)

    async def lose() -> None:
        await other.waits.wait()
        raise Oops("first")

    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            await lt.gather(other, lose)
        assert texts(raised.value) == ["first"]
        assert other.ended


async def test_outcomes_never_raises_and_leaves_the_others_alone() -> None:
    async def cancels_itself() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await forever()

    async with in_time(), lt.open_nursery() as nursery:
        cancelled = nursery.start_soon(forever)
        cancelled.cancel("why")
        first, second, third, fourth = await lt.outcomes(lambda: value_of(1), fail, cancels_itself, cancelled)
    assert first == lt.Ok(1)
    assert isinstance(second, lt.Failed)
    assert isinstance(second.error, Oops)
    assert third == lt.Ok(None)
    match fourth:
        case lt.Cancelled("why") | lt.Failed(anyio.TaskCancelled()):
            pass
        case other:
            pytest.fail(repr(other))


async def test_an_interrupt_goes_on() -> None:
    async def interrupt() -> None:
        raise KeyboardInterrupt

    async with in_time():
        with pytest.raises(BaseException) as raised:
            await in_other_loop(lambda: lt.outcomes(interrupt, forever), "trio")
        assert isinstance(raised.value, (BaseExceptionGroup, KeyboardInterrupt))


async def test_nested_races() -> None:
    async with in_time():
        assert await lt.race(forever, lambda: lt.race(forever, lambda: lt.race(forever, lambda: value_of(7)))) == 7


async def test_a_hundred_runners() -> None:
    async with in_time():
        assert await lt.gather(*(value_of(number) for number in range(100))) == list(range(100))
        assert await lt.race(*[forever] * 100, lambda: value_of("won")) == "won"


async def test_the_racers_share_nothing_and_hold_no_lock_afterwards() -> None:
    lock = lt.Lock("deck")

    async def hold() -> None:
        async with lock:
            await forever()

    async with in_time():

        async def winner() -> str:
            while not lock.locked:
                await lt.pause()
            return "won"

        assert await lt.race(hold, winner) == "won"
        assert not lock.locked
