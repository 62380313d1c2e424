"""Rows 3 and 20 of pylabrobot.md 2.1: setting up and stopping in any order, and links that devices drop by design."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import labtether as lt
from support import PtyInstrument
from support.devices import Balance, BenchCel, Heraeus, LidValet, PreciseFlex


@asynccontextmanager
async def heraeus_store(port: str, timeout: float = 5.0) -> AsyncIterator[lt.Link[str]]:
    """A driver's setup: the port, then a dialogue that may fail. 38 drivers have no way back from there."""
    framing = lt.Lines("\r\n", send_terminator="\r")
    async with lt.serial(port, 9600, parity="E", rtscts=True, framing=framing, timeout=timeout) as link:
        assert await link.query("CR") == "CC"
        assert await link.query("ST 1801") == "OK"
        yield link


async def test_row_3_heraeus_a_setup_that_fails_half_way_gives_everything_back() -> None:
    with Heraeus() as store:
        store.plc.awake = False
        with pytest.raises(lt.LinkTimeout):
            async with heraeus_store(store.port, 0.01):
                pytest.fail("it did not answer")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(30):
            with pytest.raises(lt.LinkTimeout) as caught:
                async with heraeus_store(store.port, 0.001):
                    pytest.fail("it did not answer")
            assert caught.value.command == "CR"
        assert len(os.listdir("/proc/self/fd")) == before
        store.wake_up()
        async with heraeus_store(store.port) as link:
            assert await link.query("RD 1915") == "0"


async def test_row_3_heraeus_a_setup_that_is_cancelled_half_way_gives_everything_back() -> None:
    with Heraeus() as store:
        store.plc.awake = False

        async def set_up() -> None:
            async with heraeus_store(store.port, 60):
                pytest.fail("it did not answer")

        async with lt.open_nursery() as nursery:
            setting_up = nursery.start_soon(set_up)
            await store.until_heard(1)
            setting_up.cancel()
            assert isinstance(await setting_up.outcome(), lt.Cancelled)
            store.wake_up()
            async with heraeus_store(store.port) as link:
                assert await link.query("RD 1813") == "0"


def test_row_3_mettler_set_up_in_one_loop_asked_in_others_and_stopped_in_another() -> None:
    with Balance() as balance:
        link = lt.serial(balance.port, 9600, framing="\r\n")
        asyncio.run(link.stop())  # before anything: nothing happens
        for _ in range(3):
            asyncio.run(link.setup())
            assert anyio.run(link.query, "I4", backend="trio") == 'I4 A "B021002593"'
            assert asyncio.run(link.query("Z")) == "Z A"
            assert link.sync.query("M21 0 0") == "M21 A"
            anyio.run(link.stop, backend="trio")
            asyncio.run(link.stop())
            assert link.state == "closed"
            with pytest.raises(lt.LinkClosed):
                asyncio.run(link.query("I4"))


async def test_row_3_mettler_a_port_that_is_not_there_is_the_worlds_fault_and_may_come(tmp_path: Path) -> None:
    with PtyInstrument(lambda _command: b"Z A\r\n", terminator=b"\r\n", at=tmp_path / "scale") as balance:
        balance.unplug()
        link = lt.serial(balance.port, 9600, framing="\r\n")
        for _ in range(3):
            with pytest.raises(lt.OpenFailed) as caught:
                await link.setup()
            assert caught.value.kind == "missing"
            await link.stop()
        balance.replug()
        async with link:
            assert await link.query("Z") == "Z A"


async def test_row_3_preciseflex_a_dead_link_is_stopped_like_any_other() -> None:
    # 13 drivers of today talk to the device before they close it; when it is gone, they never do.
    with PreciseFlex() as arm:
        link = lt.tcp(arm.host, arm.port, framing=lt.Lines("\r\n", send_terminator="\n"), park="exit")
        await link.setup()
        async with lt.open_nursery() as nursery:

            async def move() -> None:
                with pytest.raises(lt.LinkLost):
                    async with link.exchange(timeout=60) as talk:
                        assert await talk.query("movej 1") == "0"
                        await talk.query("waitForEom")

            nursery.start_soon(move)
            await arm.until_heard(2)
            arm.unplug()
        await link.stop()
        await link.stop()
        arm.replug()
        await link.setup()
        arm.arrive()
        assert await link.query("wherej") == "0 113 81 218 64 70"
        await link.stop()


# -- row 20 ------------------------------------------------------------------------------------------------------------


def benchcel(stacker: BenchCel, reconnect: lt.Reconnect) -> lt.Link[bytes]:
    """Its frames: an id, the length of what follows in two bytes, and that."""
    framing = lt.LengthPrefixed(2, "little", offset=1)
    return lt.tcp(stacker.host, stacker.port, framing=framing, reconnect=reconnect)


def is_at_rest(status: bytes) -> bool:
    """The status frame of a BenchCel: its id, then whether it homes."""
    return status[:2] == bytes([BenchCel.STATUS, 0])


async def test_row_20_benchcel_drops_the_link_to_home_and_is_found_again() -> None:
    with BenchCel() as stacker:
        async with benchcel(stacker, lt.Reconnect(first=0.01)) as link, lt.open_nursery() as nursery:
            assert is_at_rest(await link.query(bytes([BenchCel.STATUS])))
            await link.send(bytes([BenchCel.HOME_MOTORS]))
            homed = nursery.start_soon(
                lambda: link.wait_until(bytes([BenchCel.STATUS]), is_at_rest, every=0.01, timeout=30, idempotent=True)
            )
            await stacker.until_heard(4)
            stacker.homed()
            assert is_at_rest(await homed)
            loaded = await link.query(bytes([BenchCel.LOAD, 1, 2]))
            assert loaded == bytes([BenchCel.ACK, BenchCel.LOAD, 2])
        assert stacker.connections == 2


async def test_row_20_benchcel_is_made_ready_on_the_new_connection_before_anyone_asks() -> None:
    async def ready(link: lt.Link[bytes]) -> None:
        assert await link.query(bytes([BenchCel.LOAD, 1, 3])) == bytes([BenchCel.ACK, BenchCel.LOAD, 3])

    with BenchCel() as stacker:
        async with benchcel(stacker, lt.Reconnect(first=0.01, ready=ready)) as link:
            stacker.plates.clear()
            stacker.heard.clear()
            stacker.hang_up()
            await link.query(bytes([BenchCel.STATUS]), idempotent=True)
            assert [command[0] for command in stacker.heard] == [BenchCel.LOAD, BenchCel.STATUS]


async def test_row_20_lidvalet_an_exchange_that_the_lost_link_cut_is_not_repeated_behind_anyones_back() -> None:
    with LidValet() as delidder:
        delidder.slow = True
        framing = lt.Lines("\r\n", send_terminator="\n")
        reconnect = lt.Reconnect(first=0.01)
        async with lt.tcp(delidder.host, delidder.port, framing=framing, reconnect=reconnect) as link:
            with pytest.raises(lt.LinkLost) as caught:
                async with link.exchange(timeout=30) as talk:
                    await talk.send("unlid 1")
                    assert await talk.receive() == "ACK! unlid 1"
                    delidder.hang_up()
                    await talk.receive(match="^(OK|ERROR)!")
            assert caught.value.effect == "unconfirmed"
            parts = await link.query_all("status 1", until=r"^(OK|ERROR)!")
            assert parts == ["ACK! status 1", "HAS_LID", "OK!"]
        assert delidder.heard == [b"unlid 1", b"status 1"]


async def test_row_20_lidvalet_that_does_not_come_back_is_lost_in_the_end() -> None:
    with LidValet() as delidder:
        framing = lt.Lines("\r\n", send_terminator="\n")
        reconnect = lt.Reconnect(first=0.01, limit=0.01, give_up=0.1)
        async with lt.tcp(delidder.host, delidder.port, framing=framing, reconnect=reconnect) as link:
            await link.query_all("status 1", until="^OK!")
            delidder.unplug()
            with pytest.raises(lt.LinkLost):
                await link.query_all("status 1", until="^OK!", timeout=30)
            await delidder.until(lambda: link.state == "lost", "lost")
            delidder.replug()
            await link.stop()
            await link.setup()
            assert (await link.query_all("status 1", until="^OK!"))[1] == "OPEN"
