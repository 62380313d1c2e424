"""Virtual time and instruments that follow a script, in memory: delays, timeouts, polls, keep-alives, faults, and
coming back. Traces are compared whole, to the nanosecond."""

from typing import Any

import anyio
import pytest

import labtether as lt
from labtether.testing import VirtualTime, faults


async def test_a_reply_comes_when_its_script_says(virtual_time: VirtualTime, labsim: Any) -> None:
    psu = labsim.script("psu", transport="memory")
    psu.expect("*IDN?").reply("ACME,PSU,1.0")
    psu.expect("MEAS?").reply("1.23", after=2.5).push("ALARM", after=60)
    psu.expect("VOLT?").silence()
    async with psu.link() as link:
        assert await link.query("*IDN?") == "ACME,PSU,1.0"
        assert virtual_time.elapsed == 0.0
        assert await link.query("MEAS?") == "1.23"
        assert virtual_time.elapsed == 2.5
        assert await link.receive(timeout=100) == "ALARM"
        assert virtual_time.elapsed == 62.5
        with pytest.raises(lt.LinkTimeout):
            await link.query("VOLT?", timeout=30)
        assert virtual_time.elapsed == 92.5
    said = [event for event in psu.wire if event.direction == "<"]
    assert [event.monotonic - said[0].monotonic for event in said] == [0.0, 2.5, 62.5]


@pytest.mark.parametrize(("after", "answered"), [(0.9999, True), (1.0001, False)])
async def test_a_reply_races_a_timeout_the_same_way_every_time(
    virtual_time: VirtualTime, labsim: Any, after: float, answered: bool
) -> None:
    told: list[Any] = []
    for _ in range(50):
        psu = labsim.script("psu", transport="memory")
        psu.when("MEAS?").reply("1.23", after=after)
        began = virtual_time.monotonic
        async with psu.link() as link:
            try:
                reply = await link.query("MEAS?", timeout=1.0)
            except lt.LinkTimeout as silence:
                reply = str(silence)
            await lt.sleep(5)
        psu.stop()
        events = [
            (round(event.monotonic - began, 9), event.direction, event.data, event.note) for event in link.trace()
        ]
        told.append((reply, events))
    assert told == [told[0]] * 50
    assert (told[0][0] == "1.23") is answered


def test_the_blocking_face_and_pushes_of_the_test(virtual_time: VirtualTime, labsim: Any) -> None:
    psu = labsim.script("psu", transport="memory")
    psu.when("MEAS?").reply("1.23", after=0.25)
    with psu.link().sync as link, link.messages() as heard:
        readings = []
        with link.poll("MEAS?", every=1.0, count=5) as poll:
            readings = list(poll)
        began = readings[0].monotonic
        assert [reading.monotonic - began for reading in readings] == [0.0, 1.0, 2.0, 3.0, 4.0]
        psu.push("ALARM")
        assert next(heard) == "ALARM"
        assert virtual_time.elapsed == 4.25
        virtual_time.advance(100)
        assert virtual_time.elapsed == 104.25


async def test_a_lost_link_comes_back_after_its_pauses(virtual_time: VirtualTime, labsim: Any) -> None:
    psu = labsim.script("psu", transport="memory")
    psu.when("MEAS?").reply("1.23")
    async with psu.link(reconnect=lt.Reconnect()) as link:
        assert await link.query("MEAS?") == "1.23"
        psu.disconnect()
        await lt.sleep(30)
        assert link.state == "reconnecting"
        assert virtual_time.elapsed == 30.0
        psu.reconnect()
        await lt.sleep(30)
        assert await link.query("MEAS?") == "1.23"


async def faulty(clock: VirtualTime, labsim: Any) -> list[Any]:
    """A conversation over a bad line, and what was told of it, in seconds from its beginning."""
    psu = labsim.script("psu", transport="memory", faults=[faults.Jitter(0.3, seed=7), faults.Fragment(seed=3)])
    psu.when("MEAS?").reply("1.23", after=0.1)
    began, told = clock.monotonic, list[Any]()

    async def poll(link: lt.Link[str]) -> None:
        async for reading in link.poll("MEAS?", every=1.0, count=10):
            told.append((round(reading.monotonic - began, 9), reading.value))

    async with psu.link(keepalive=lt.KeepAlive("MEAS?", every=0.7)) as link, anyio.create_task_group() as group:
        group.start_soon(poll, link)
        await lt.sleep(4.2)
        told.append(await link.query("MEAS?"))
    events = link.trace() + psu.wire
    psu.stop()
    told += [(round(event.monotonic - began, 9), event.direction, event.data, event.note) for event in events]
    return told


async def test_faults_keepalives_and_polls_are_the_same_on_every_run(virtual_time: VirtualTime, labsim: Any) -> None:
    first = await faulty(virtual_time, labsim)
    assert len(first) > 60
    for _ in range(20):
        assert await faulty(virtual_time, labsim) == first


def test_a_real_port_is_refused(virtual_time: VirtualTime, labsim: Any) -> None:
    for transport in ("pty", "tcp", "rfc2217"):
        with pytest.raises(RuntimeError, match="memory"):
            labsim.script("psu", transport=transport)


class TestOrder:
    """Whichever is named first, the clock is around the instruments."""

    @pytest.fixture
    def psu(self, labsim: Any) -> Any:
        psu = labsim.script("psu", transport="memory")
        psu.when("MEAS?").reply("1.23", after=30)
        return psu

    async def test_instruments_first(self, psu: Any, virtual_time: VirtualTime) -> None:
        async with psu.link() as link:
            assert await link.query("MEAS?", timeout=40) == "1.23"
        assert virtual_time.elapsed == 30.0
