"""What outlives the ordinary children: services, and what was entered. The order of their ends, and their failures."""

import contextlib
from typing import Any

import anyio
import pytest

import labtether as lt
from support.nurseries import (
    Hardware,
    Oops,
    fail,
    forever,
    in_time,
    nothing_left,
    settled,
    texts,
    value_of,
)


async def test_children_end_first_then_services_then_what_was_entered_in_reverse() -> None:
    diary: list[str] = []

    async def note_the_end(what: str) -> None:
        try:
            await forever()
        finally:
            diary.append(f"end {what}")

    async def child() -> None:
        await settled()
        diary.append("end child")

    async with in_time():
        async with lt.open_nursery() as nursery:
            await nursery.enter(Hardware("a", diary))
            nursery.service(note_the_end, "service")
            await nursery.enter(Hardware("b", diary))
            nursery.start_soon(child)
    assert diary == ["enter a", "enter b", "end child", "end service", "leave b", "leave a"]


@pytest.mark.parametrize("how", ["cancel", "block fails", "child fails", "scope around"])
async def test_the_order_is_the_same_however_it_ends(how: str) -> None:
    diary: list[str] = []

    async def note_the_end(what: str) -> None:
        try:
            await forever()
        finally:
            with anyio.CancelScope(shield=True):
                await settled()
            diary.append(f"end {what}")

    async with in_time():
        with contextlib.suppress(ExceptionGroup), anyio.CancelScope() as scope:
            async with lt.open_nursery() as nursery:
                await nursery.enter(Hardware("a", diary))
                await nursery.enter(Hardware("b", diary))
                nursery.service(note_the_end, "service")
                nursery.start_soon(note_the_end, "child")
                await settled()
                if how == "cancel":
                    nursery.cancel()
                elif how == "block fails":
                    raise Oops
                elif how == "child fails":
                    nursery.start_soon(fail)
                else:
                    scope.cancel()
                await forever()
        assert diary == ["enter a", "enter b", "end child", "end service", "leave b", "leave a"]
        await nothing_left("nursery", "a", "b")


async def test_a_service_does_not_keep_the_nursery_open() -> None:
    async with in_time():
        async with lt.open_nursery() as nursery:
            handle = nursery.service(forever, name="heartbeat")
            assert handle.name == "heartbeat"
        assert await handle.outcome() == lt.Cancelled("the ordinary children have ended")


async def test_a_service_may_still_use_what_was_entered() -> None:
    async def park(balance: lt.Link[Any]) -> str:
        try:
            await forever()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                return str(await balance.query("I4"))
        return ""

    async with in_time():
        async with lt.open_nursery() as nursery:
            balance = await nursery.enter(lt.link("sim://balance"))
            handle = nursery.service(park, balance)
            await settled()
        assert (await handle).startswith("I4")
        assert balance.state == "closed"


async def test_a_failing_service_ends_the_nursery() -> None:
    hardware = Hardware()
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(hardware)
                child = nursery.start_soon(forever)
                other = nursery.service(forever)
                nursery.service(fail, "heartbeat lost", name="heartbeat")
                await forever()
        assert [str(error) for error in raised.value.exceptions] == ["heartbeat lost"]
        assert await child.outcome() == lt.Cancelled("heartbeat failed")
        assert isinstance(await other.outcome(), lt.Cancelled)
        assert hardware.diary[-1] == "leave hardware"


async def test_a_service_that_fails_on_being_ended() -> None:
    async def child() -> None:
        try:
            await forever()
        finally:
            raise Oops("last words")

    hardware = Hardware()
    async with in_time():
        with pytest.raises(ExceptionGroup) as raised:
            async with lt.open_nursery() as nursery:
                await nursery.enter(hardware)
                nursery.service(child)
                await settled()
        assert texts(raised.value) == ["last words"]
        assert hardware.diary[-1] == "leave hardware"


async def test_a_service_that_ends_early_ends_nothing_else() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        assert await nursery.service(value_of, 5) == 5
        await settled()
        assert nursery.reason is None
        assert nursery.children == ()


async def test_a_service_is_cancelled_by_its_handle() -> None:
    async with in_time(), lt.open_nursery() as nursery:
        handle = nursery.service(forever)
        await settled()
        handle.cancel("quiet")
        assert await handle.outcome() == lt.Cancelled("quiet")
        assert nursery.reason is None
