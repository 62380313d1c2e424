"""Slots: any place or a chosen one, how long it took, and places that are never lost."""

import copy
import gc
import pickle

import anyio
import pytest

import labtether as lt
from support.together import Asker, Place, Worker, ask, in_thread_when, new_loop, turns, until


async def test_any_place_is_the_first_that_is_free() -> None:
    slots = lt.Slots(["A1", "A2", "A3"], "deck")
    async with slots.take() as first, slots.take() as second:
        assert (first, second) == ("A1", "A2")
        assert list(slots.free) == ["A3"]
        async with slots.take("A3") as third:
            assert third == "A3"
            assert list(slots.free) == []
    assert slots.free == slots.names == ("A1", "A2", "A3")


async def test_a_chosen_place_is_waited_for_while_others_are_free() -> None:
    place = Place(lt.Slots(["A1", "A2"], "deck"))
    async with anyio.create_task_group() as group:
        holder = await ask(group, place, want="A2")
        chosen = await ask(group, place, want="A2")
        anyone = await ask(group, place)
        assert (holder.state, chosen.state, anyone.state) == ("holds", "asks", "holds")
        assert anyone.got == "A1"
        anyone.leave()
        await until(lambda: anyone.is_over)
        assert chosen.state == "asks"
        holder.leave()
        await until(lambda: chosen.state == "holds")
        assert chosen.got == "A2"
        chosen.leave()
    assert place.is_free


async def test_first_come_first_served_for_each_place() -> None:
    place = Place(lt.Slots(["A1", "A2"], "deck"))
    async with anyio.create_task_group() as group:
        one, two = await ask(group, place, want="A1"), await ask(group, place, want="A2")
        wants_two, wants_any, wants_one = [await ask(group, place, want=want) for want in ("A2", None, "A1")]
        one.leave()
        await until(lambda: wants_any.state == "holds")
        assert wants_any.got == "A1"
        assert wants_one.state == "asks"
        two.leave()
        await until(lambda: wants_two.state == "holds")
        wants_any.leave()
        await until(lambda: wants_one.state == "holds")
        wants_one.leave()
        wants_two.leave()
    assert place.is_free


async def test_it_says_whether_it_had_to_wait() -> None:
    slots = lt.Slots(["A1"], "deck")
    first = slots.take()
    assert first.place is None
    assert first.waited == 0.0
    assert repr(first) == "<Taking of deck: not held>"
    second = slots.take("A1")

    async def waits() -> None:
        async with second as place:
            assert place == "A1" == second.place
            assert second.waited > 0.0
            assert repr(second).startswith("<Taking of deck: A1, waited 0.")

    async with anyio.create_task_group() as group:
        async with first:
            assert first.waited == 0.0
            group.start_soon(waits)
            await until(lambda: slots.tree()["waiters"])
            assert slots.tree()["waiters"][0]["place"] == "A1"
        assert first.place is None
    assert second.place is None


async def test_the_same_taking_twice() -> None:
    slots = lt.Slots(["A1", "A2"], "deck")
    taking = slots.take()
    async with taking:
        with pytest.raises(RuntimeError, match="taken already"):
            async with taking:
                pass
        assert list(slots.free) == ["A2"]
    async with taking as place:
        assert place == "A1"
    assert slots.free == ("A1", "A2")


async def test_the_same_taking_in_two_tasks_that_wait_takes_no_place_from_the_first() -> None:
    slots = lt.Slots(["A1", "A2"], "deck")
    taking = slots.take()
    places: list[str] = []
    refused: list[RuntimeError] = []
    go_on = anyio.Event()

    async def use() -> None:
        try:
            async with taking as place:
                places.append(place)
                await go_on.wait()
        except RuntimeError as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        async with slots.take("A1"), slots.take("A2"):
            group.start_soon(use)
            await until(lambda: len(slots.tree()["waiters"]) == 1)
            group.start_soon(use)
            await until(lambda: len(slots.tree()["waiters"]) == 2 or refused)
        await turns(20)
        # Whoever is inside holds his place.
        assert len(slots.tree()["holders"]) == len(places)
        go_on.set()
    assert slots.free == ("A1", "A2")


async def test_a_place_is_not_lost_when_its_taker_is_cancelled_while_it_waits() -> None:
    place = Place(lt.Slots(["A1", "A2"], "deck"))
    async with anyio.create_task_group() as group:
        holders = [await ask(group, place) for _ in range(2)]
        gone, after = await ask(group, place), await ask(group, place, want="A1")
        holders[0].leave()
        gone.cancel()
        await until(lambda: after.state == "holds")
        assert after.got == "A1"
        after.leave()
        holders[1].leave()
    assert place.is_free


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_place_is_not_lost_when_its_taker_is_destroyed_while_it_waits(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "asyncio")
    slots = lt.Slots(["A1", "A2"], "deck")
    loop = new_loop(kind)
    got: list[str] = []

    async def take() -> None:
        async with slots.take() as place:
            got.append(place)

    with slots.take("A2").sync, slots.take("A1").sync:
        task = loop.create_task(take())
        loop.run_until_complete(until(lambda: slots.tree()["waiters"]))
        after = in_thread_when(Place(slots), lambda: "had it")
    # Granted to the task, which never looks.
    del task
    loop.close()
    gc.collect()
    assert after.finish() == "had it"
    assert slots.free == ("A1", "A2")
    assert not got


async def test_a_task_that_has_all_places_and_asks_for_one_more_is_told() -> None:
    slots = lt.Slots(["A1", "A2"], "deck")
    async with slots.take(), slots.take():
        with pytest.raises(lt.Deadlock) as error:
            async with slots.take():
                pass
        with pytest.raises(lt.Deadlock):
            async with slots.take("A2"):
                pass
        assert len(error.value.cycle) == 1
        assert "slots deck" in error.value.cycle[0]
    assert slots.free == ("A1", "A2")


async def leave_when_waited_for(asker: Asker) -> None:
    await until(lambda: asker.place.waiters)
    asker.leave()


async def test_no_deadlock_while_one_of_several_may_become_free() -> None:
    place = Place(lt.Slots(["A1", "A2"], "deck"))
    async with anyio.create_task_group() as group:
        free_to_go = await ask(group, place, want="A2")
        async with place.block("A1"):
            group.start_soon(leave_when_waited_for, free_to_go)
            async with place.block() as got:
                assert got == "A2"
    assert place.is_free


async def test_holders_that_all_wait_for_a_place_are_a_deadlock() -> None:
    slots, failed = lt.Slots(["A1", "A2"], "deck"), list[lt.Deadlock]()

    async def take_two() -> None:
        try:
            async with slots.take():
                await until(lambda: not slots.free)
                async with slots.take():
                    pass
        except lt.Deadlock as deadlock:
            failed.append(deadlock)

    async with anyio.create_task_group() as group:
        group.start_soon(take_two)
        group.start_soon(take_two)
    assert len(failed) == 1
    assert slots.free == ("A1", "A2")


def test_threads() -> None:
    slots = lt.Slots(["A1", "A2"], "deck")
    with slots.take().sync as place:
        assert place == "A1"

        def take() -> str:
            with slots.take().sync as place:
                return place

        assert Worker(take).finish() == "A2"
    taking = slots.take("A2")
    with taking.sync:
        assert repr(taking.sync) == "<Taking.sync of deck: A2, waited 0.0 s>"
        with pytest.raises(RuntimeError, match="taken already"):
            with taking.sync:
                pass
    assert slots.free == ("A1", "A2")


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="not one str"):
        lt.Slots("A1")
    with pytest.raises(TypeError, match="a place is a str"):
        lt.Slots([1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="there has to be a place"):
        lt.Slots([])
    with pytest.raises(ValueError, match="named once, not A1"):
        lt.Slots(["A1", "A2", "A1"])
    with pytest.raises(ValueError, match="empty"):
        lt.Slots([""])
    slots = lt.Slots(["A1"], "deck")
    with pytest.raises(ValueError, match="slots deck has no place"):
        slots.take("B7")
    with pytest.raises(TypeError):
        slots.take(1)  # type: ignore[arg-type]
    assert lt.Slots(iter(["A1"])).names == ("A1",)


async def test_what_they_say() -> None:
    slots = lt.Slots(["A1", "A2"], "deck")
    assert repr(slots) == "<Slots deck: 2 of 2 free>"
    async with slots.take("A2"):
        assert repr(slots).startswith("<Slots deck: 1 of 2 free; held by A2: task '")
        assert [row["place"] for row in slots.tree()["holders"]] == ["A2"]
    for copying in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="Slots deck is shared"):
            copying(slots)
