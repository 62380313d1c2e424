"""Killed at every step: however a loop ends, and wherever a lifespan stands then, the instrument is parked, by Python
where that can run and by Rust where it cannot; nothing stays open (laws 1, 6 and 7)."""

import asyncio
import gc
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
import trio
import uvloop

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.child import run_child
from support.scales import LAST_WORDS, PARKED, Balance, balance

STEPS = ["opening", "open", "asking", "talking", "closing"]


@pytest.fixture
def told() -> Iterator[ScriptedInstrument]:
    with balance() as told:
        told.when("SLOW").silence()
        told.when("BEGIN").silence()
        yield told


class Slow(Balance):
    """Waits where it is told to."""

    async def lifespan(self, step: str = "open") -> AsyncIterator[None]:
        async with self.link:
            await self.link.query("SLOW" if step == "opening" else "@", timeout=30)
            yield
            # A run that ends cancels what others wait for, and not this.
            await anyio.sleep(0.01)
            await self.link.query(PARKED)
            if step == "closing":
                with suppress(lt.LinkTimeout):
                    await self.link.query("SLOW", timeout=0.2)


class Loose:
    """Tasks that nobody waits for, on asyncio and trio."""

    def __init__(self) -> None:
        self._tasks: list[Any] = []

    def start(self, work: Callable[[], Any]) -> None:
        if trio.lowlevel.in_trio_task():
            trio.lowlevel.spawn_system_task(self._quietly, work)
        else:
            task = asyncio.get_running_loop().create_task(self._quietly(work))
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._tasks.append(task)

    async def _quietly(self, work: Callable[[], Any]) -> None:
        with suppress(lt.LinkError):
            await work()


async def bring_to(step: str, scale: Slow, told: ScriptedInstrument) -> None:
    """To where `scale` stands in the middle of `step`."""
    loose = Loose()
    scale.loose = loose  # type: ignore[attr-defined]
    if step == "opening":
        loose.start(lambda: scale.setup(step=step))
        return await heard(told, "SLOW")
    await scale.setup(step=step)
    if step == "asking":
        loose.start(scale.never)
        return await heard(told, "HANG")
    if step == "talking":
        loose.start(lambda: talk(scale))
        return await heard(told, "BEGIN")
    if step == "closing":
        loose.start(scale.stop)
        return await heard(told, "SLOW")
    return None


async def talk(scale: Slow) -> None:
    async with scale.link.exchange(timeout=30, abort=lt.Abort("HALT", reply="^halted$")) as talk:
        await talk.send("BEGIN")
        await talk.receive()


async def heard(told: ScriptedInstrument, what: str) -> None:
    with anyio.fail_after(10):
        while what not in told.heard:
            await anyio.sleep(0.001)


def until(told: ScriptedInstrument, scale: lt.Instrument, link: lt.Link[str]) -> None:
    """Wait until the instrument and its link are closed: what Rust does, it does in the background."""
    for _ in range(10_000):
        if scale.state == "closed" and link.state == "closed":
            return
        threading.Event().wait(0.001)
    raise AssertionError(f"{scale}, {link}, heard {told.heard}")


def parts_with(told: ScriptedInstrument, *words: str) -> bool:
    """Whether that is what it hears at last, besides the conversation that led to the step. What was written may still
    be on its way."""
    for _ in range(5_000):
        if len(parted(told)) >= len(words):
            break
        threading.Event().wait(0.001)
    return parted(told) == list(words)


def parted(told: ScriptedInstrument) -> list[str]:
    return [line for line in told.heard if line in (PARKED, LAST_WORDS, "HALT")]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_a_run_that_ends_the_proper_way_parks_by_python(backend: str, step: str, told: ScriptedInstrument) -> None:
    scale = Slow(told.port)
    options = {"use_uvloop": backend == "uvloop"} if backend != "trio" else {}
    anyio.run(bring_to, step, scale, told, backend="trio" if backend == "trio" else "asyncio", backend_options=options)
    assert (scale.state, scale.link.state) == ("closed", "closed")
    expected = {"opening": [], "asking": ["HALT", PARKED], "talking": ["HALT", PARKED]}
    assert parts_with(told, *expected.get(step, [PARKED])), told.heard
    why = {"opening": "", "closing": "it was stopped"}.get(step, "its event loop ended")
    with pytest.raises(lt.LinkClosed, match=f"Slow is closed: {why}"):
        scale.sync.weigh()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("end", "make"),
    # A loop of uvloop's that is not closed is never collected: it holds itself.
    [("close", asyncio.new_event_loop), ("close", uvloop.new_event_loop), ("collection", asyncio.new_event_loop)],
    ids=["close", "close-uvloop", "collection"],
)
def test_a_loop_that_is_torn_down_is_parked_by_rust(
    end: str, make: Callable[[], asyncio.AbstractEventLoop], step: str, told: ScriptedInstrument
) -> None:
    scale = Slow(told.port)
    loop = make()
    loop.run_until_complete(bring_to(step, scale, told))
    del scale.loose  # type: ignore[attr-defined]
    if end == "close":
        loop.close()
    with warnings.catch_warnings():
        # A loop that is left to the collector says so itself.
        warnings.simplefilter("ignore", ResourceWarning)
        del loop
        gc.collect()
    until(told, scale, scale.link)
    first = {"asking": ["HALT"], "talking": ["HALT"], "closing": [PARKED]}
    assert parts_with(told, *first.get(step, []), LAST_WORDS), told.heard


@pytest.mark.parametrize("step", ["open", "asking", "talking"])
def test_the_end_of_the_process_parks_by_python_in_a_loop_that_stands_still(
    step: str, told: ScriptedInstrument
) -> None:
    ended = run_child(
        """
        import asyncio, sys
        import labtether as lt
        from test_lifespan_endings import Slow, bring_to
        class Deaf:
            heard = ["SLOW", "HANG", "BEGIN"]
        loop = asyncio.new_event_loop()
        scale = Slow(sys.argv[1])
        loop.run_until_complete(bring_to(sys.argv[2], scale, Deaf()))
        loop.run_until_complete(asyncio.sleep(0.05))
        print(scale.state)
        loop.close = lambda: None
        """,
        told.port,
        step,
    )
    assert ended.stdout.split() == ["open"]
    assert parts_with(told, *({"open": [PARKED]}.get(step, ["HALT", PARKED]))), told.heard


@pytest.mark.parametrize("step", ["open", "asking"])
def test_the_end_of_a_process_without_loops_parks_by_python(step: str, told: ScriptedInstrument) -> None:
    ended = run_child(
        """
        import sys, threading, time
        import labtether as lt
        from support.scales import Scale
        scale = Scale(sys.argv[1]).sync.setup()
        if sys.argv[2] == "asking":
            def ask():
                try:
                    scale.never()
                except lt.LinkClosed:
                    pass
            threading.Thread(target=ask).start()
            while "HANG" not in str(scale.link.trace()):
                time.sleep(0.001)
        print(scale.state)
        """,
        told.port,
        step,
    )
    assert ended.stdout.split() == ["open"]
    assert parts_with(told, *{"open": [PARKED], "asking": ["HALT", PARKED]}[step]), told.heard
    assert ended.seconds < 10


def test_the_end_of_a_process_whose_loop_hangs_parks_by_rust(told: ScriptedInstrument) -> None:
    ended = run_child(
        """
        import asyncio, logging, sys, threading, time
        from support.scales import Scale
        logging.basicConfig()
        hung = threading.Event()
        async def main():
            await Scale(sys.argv[1]).setup()
            hung.set()
            time.sleep(60)
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        hung.wait()
        """,
        told.port,
    )
    assert parts_with(told, LAST_WORDS), told.heard
    assert "Scale: its closing part did not run: the process is ending" in ended.stderr
