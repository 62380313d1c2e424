"""Who ends when: parts and wholes, what is told to end while it is set up, what is told twice, links that change hands
(laws 1 and 6)."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.balances import told
from support.scales import Scale

__all__ = ["told"]


class Station(lt.Instrument):
    """Parks by means of its part, which must not have ended before."""

    def __init__(self, part: Scale) -> None:
        self.part = part

    async def lifespan(self) -> AsyncIterator[None]:
        async with self.part:
            yield
            await anyio.sleep(0.01)
            await self.part.weigh()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_run_that_ends_ends_the_whole_and_that_its_part(backend: str, told: ScriptedInstrument) -> None:
    station = Station(Scale(told.port))
    anyio.run(station.setup, backend=backend)
    assert (station.state, station.part.state) == ("closed", "closed")
    assert told.heard == ["@", "S", "P"]


async def test_what_is_told_to_end_before_its_setup_began_never_begins() -> None:
    did: list[str] = []

    class Quick(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            did.append("up")
            yield
            await anyio.sleep(0.01)
            did.append("parked")

    quick = Quick()
    # Trio may begin with either.
    ended = await lt.outcomes(quick.setup, quick.stop)
    await quick.stop()
    assert quick.state == "closed"
    assert did in ([], ["up", "parked"])
    assert not any(isinstance(one, lt.Failed) and not isinstance(one.error, lt.LinkClosed) for one in ended)


async def test_what_is_told_to_end_in_the_instant_in_which_it_is_up_is_parked() -> None:
    did: list[str] = []
    ready = anyio.Event()

    class Warming(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            await ready.wait()
            did.append("up")
            yield
            await anyio.sleep(0.01)
            did.append("parked")

    warming = Warming()
    async with anyio.create_task_group() as group:

        async def set_up() -> None:
            with pytest.raises(lt.LinkClosed, match="it was stopped while it was being set up"):
                await warming.setup()

        group.start_soon(set_up)
        await anyio.wait_all_tasks_blocked()
        ready.set()
        await warming.stop()
    assert did in ([], ["up", "parked"])


async def test_a_second_stop_does_not_cut_the_undoing_of_a_setup_short() -> None:
    did: list[str] = []
    warming, undoing = anyio.Event(), anyio.Event()

    class Lamp(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            try:
                warming.set()
                await anyio.sleep_forever()
                yield
            finally:
                with anyio.CancelScope(shield=lt._core.in_trio()):
                    undoing.set()
                    await anyio.sleep(0.05)
                    did.append("off")

    lamp = Lamp()
    async with anyio.create_task_group() as group:

        async def set_up() -> None:
            with pytest.raises(lt.LinkClosed):
                await lamp.setup()

        group.start_soon(set_up)
        await warming.wait()
        group.start_soon(lamp.stop)
        await undoing.wait()
        await lamp.stop()
    assert did == ["off"]


async def test_a_setup_right_after_a_stop_sets_it_up_anew(told: ScriptedInstrument) -> None:
    scale = await Scale(told.port).setup()
    async with anyio.create_task_group() as group:
        group.start_soon(scale.stop)
        while scale.state == "open" and not scale._labtether.host.is_told:  # type: ignore[attr-defined]
            await anyio.lowlevel.checkpoint()
        await scale.setup()
    assert scale.state == "open"
    assert await scale.weigh() == 1.5
    await scale.stop()
    assert told.heard == ["@", "P", "@", "S", "P"]


async def test_a_link_that_a_lifespan_has_closed_again_is_not_closed_by_its_end(told: ScriptedInstrument) -> None:
    link = lt.serial(told.port, 9600, framing="\r\n")

    class Glance(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            async with link:
                await link.query("@")
            yield

    async with Glance() as glance:
        async with link:
            await glance.stop()
            assert link.state == "open"
            assert await link.query("S", parse=lt.number) == 1.5


def test_a_blocking_setup_stops_an_instrument_on_its_port(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    scale.sync.setup()
    link = lt.serial(told.port, 9600, framing="\r\n").sync.setup(replace=True)
    assert scale.state == "closed"
    assert link.query("S", parse=lt.number) == 1.5
    link.stop()
    assert told.heard == ["@", "P", "S"]


async def test_a_blocking_setup_that_needs_the_loop_it_blocks_is_refused_at_once(told: ScriptedInstrument) -> None:
    async with Scale(told.port) as scale:
        with pytest.raises(RuntimeError, match="lives in the event loop that runs in this thread"):
            lt.serial(told.port, 9600, framing="\r\n").sync.setup(replace=True)
        assert await scale.weigh() == 1.5


async def test_two_setups_of_one_face_are_both_open_when_they_end(told: ScriptedInstrument) -> None:
    line = lt.serial(told.port, 9600, framing="\r\n")
    face = line.at("1", send="{body}", reply="(?P<body>.*)")
    readings: list[float] = []

    async def use() -> None:
        await face.setup()
        readings.append(await face.query("S", parse=lt.number))

    async with anyio.create_task_group() as group:
        group.start_soon(use)
        group.start_soon(use)
    assert readings == [1.5, 1.5]
    await face.stop()


@pytest.mark.asyncio_only
async def test_a_context_manager_that_raises_the_end_of_its_loop_again_has_not_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def grouped() -> AsyncIterator[None]:
        async with asyncio.TaskGroup():
            yield

    def run() -> None:
        asyncio.run(lt.lifecycle.enter(grouped()))

    await anyio.to_thread.run_sync(run)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_an_interrupted_call_ends_though_its_loop_is_busy(told: ScriptedInstrument) -> None:
    class Blocking(Scale):
        async def block(self) -> None:
            time.sleep(0.3)

    with Blocking(told.port).sync as scale:
        thread = threading.Thread(target=scale.block)
        thread.start()
        timer = threading.Timer(0.1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt) as raised:
            scale.weigh()
        thread.join()
        timer.join()
        assert not any("has not ended" in note for note in getattr(raised.value, "__notes__", ()))
