"""`labtether demo`: one conversation, step by step, each step with the time it took, and a count of what was left open.

The conversation is what any user could write; only the counting looks behind the scenes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import labtether as lt
from labtether.testing import SimulatedInstrument, balance

__all__ = ["real", "simulated"]

Tasks = tuple[int, int]
"""How many tasks the loop had before the conversation, and after it."""


def simulated() -> int:
    """Talk to a simulated balance. Returns the exit status."""
    _title("a conversation with a simulated balance")
    before = _baseline()
    with contextlib.ExitStack() as room:
        with _step() as says:
            instrument = room.enter_context(balance())
            says(f"switched on a simulated balance, on the pseudo-terminal {_terminal(instrument)}")
        tasks = asyncio.run(_converse(instrument))
    return _account(before, tasks)


def real(link: lt.Link[Any], command: str) -> int:
    """Ask a real instrument one thing. Returns the exit status."""
    _title(f"one question to {link.url}")
    before = _baseline()
    tasks = asyncio.run(_ask(link, command))
    return _account(before, tasks)


# -- the conversations -------------------------------------------------------------------------------------------------


async def _ask(link: lt.Link[Any], command: str) -> Tasks:
    before = len(asyncio.all_tasks())
    with _step() as says:
        await link.setup()
        says(f"opened {link.url}")
    try:
        with _step() as says:
            reply = await link.query(command)
            says(f"asked {command!r}: {reply!r}")
    finally:
        with _step() as says:
            await link.stop()
            says(f"stopped: the link is {link.state}")
    return before, len(asyncio.all_tasks())


async def _converse(instrument: SimulatedInstrument) -> Tasks:
    before = len(asyncio.all_tasks())
    scale = lt.serial(instrument.port, 9600, framing="\r\n")
    with _step() as says:
        await scale.setup()
        says(f"opened it: {scale!r}")
    try:
        with _step() as says:
            identity = await scale.query("I4")
            says(f"asked its identity: I4 -> {identity!r}")
        await _weigh(scale)
        await _stream(scale)
        await _cancel(scale, identity)
        await _wait_in_vain(scale)
        await _unplug(scale, instrument)
        with _step() as says:
            instrument.reconnect()
            await scale.stop()
            await scale.setup()
            says(f"plugged in again, on {_terminal(instrument)}, and set it up again")
        await _weigh(scale)
    finally:
        with _step() as says:
            await scale.stop()
            says(f"stopped: the link is {scale.state}")
    return before, len(asyncio.all_tasks())


async def _weigh(scale: lt.Link[str]) -> None:
    with _step() as says:
        weight = await scale.query("S", parse=lt.number)
        says(f"weighed: S -> {weight:.5f} g, once the weight was stable")


async def _stream(scale: lt.Link[str], *, every: float = 0.1, lasting: float = 2.0) -> None:
    readings: list[lt.Reading[float]] = []
    worst = 0.0
    with _step() as says, _Progress() as progress:
        async with scale.poll("SI", every=every, parse=lt.number) as answers:
            async for reading in answers:
                readings.append(reading)
                spent = reading.monotonic - readings[0].monotonic
                worst = max(worst, abs(spent - every * round(spent / every)))
                progress.show(
                    spent, f"{spent:.1f} of {lasting:.1f} s: {len(readings):2} readings, {reading.value:.5f} g"
                )
                if spent > lasting - every / 2:
                    break
        mean = sum(reading.value for reading in readings) / len(readings)
        beat = f"each within {worst * 1000:.1f} ms of its beat"
        says(f"streamed SI every {every} s: {len(readings)} readings, mean {mean:.5f} g, {beat}")


async def _cancel(scale: lt.Link[str], identity: str) -> None:
    with _step() as says:
        asking = asyncio.create_task(scale.query("S"))
        await asyncio.sleep(0.05)
        start = time.perf_counter()
        asking.cancel()
        await asyncio.wait([asking])
        ended = (time.perf_counter() - start) * 1000
        _expect(asking.cancelled(), "a slow query was to be cancelled, but it was answered")
        says(f"cancelled a slow S after 0.05 s: its await ended {ended:.1f} ms later, its reply is still owed")
    with _step() as says:
        reply = await scale.query("I4")
        _expect(reply == identity, f"the answer to I4 is {identity!r}, but {reply!r} came")
        late = [event.data.decode("latin-1") for event in scale.trace() if event.note == "late"]
        dropped = ", ".join(map(repr, late))
        says(f"asked I4 next: {reply!r} is the right answer; before it, the late {dropped} was dropped")


async def _wait_in_vain(scale: lt.Link[str]) -> None:
    with _step() as says:
        try:
            reply = await scale.query("QUIET", timeout=0.3)
        except lt.LinkTimeout as error:
            says(f"asked what it does not answer: {_told(error)}")
        else:
            _expect(False, f"the balance does not answer QUIET, but {reply!r} came")


async def _unplug(scale: lt.Link[str], instrument: SimulatedInstrument) -> None:
    with _step() as says:
        instrument.disconnect()
        try:
            reply = await scale.query("SI")
        except lt.LinkLost as error:
            says(f"unplugged it: {_told(error)}")
        else:
            _expect(False, f"the cable is pulled, but {reply!r} came")


def _told(error: lt.LinkError) -> str:
    return f"{type(error).__name__}: {error}"


def _expect(shown: bool, otherwise: str) -> None:
    if not shown:
        raise lt.LinkError(f"the demonstration failed: {otherwise}")


# -- what is printed ---------------------------------------------------------------------------------------------------

MARGIN = " " * 13


def _title(what: str) -> None:
    print(f"labtether {lt.__version__}: {what}, and the time each step took\n", flush=True)


def _terminal(instrument: SimulatedInstrument) -> str:
    return os.path.realpath(instrument.port)


@contextlib.contextmanager
def _step() -> Iterator[Callable[[str], None]]:
    """Time a block, then print what it says; nothing if it fails."""
    said: list[str] = []
    start = time.perf_counter()
    yield said.append
    spent = time.perf_counter() - start
    print(f"{spent * 1000:8.1f} ms  {' '.join(said)}", flush=True)


class _Progress:
    """One line that changes, on a terminal; a plain line each half second elsewhere."""

    def __init__(self, *, every: float = 0.5) -> None:
        self._every = every
        self._next = every
        self._live = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def show(self, spent: float, line: str) -> None:
        if self._live:
            print(f"\r{MARGIN}{line}\x1b[K", end="", flush=True)
        elif spent > self._next - 0.05:
            self._next += self._every
            print(f"{MARGIN}{line}", flush=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            print("\r\x1b[K", end="", flush=True)


# -- what is left open -------------------------------------------------------------------------------------------------

OWN = {"labtether": "runtime thread", "labtether clerk": "log thread"}
"""What the engine starts once and keeps until the process ends."""


@dataclass(frozen=True)
class _Holding:
    """What this process holds: where each descriptor leads (None: this system does not tell), each thread's name."""

    descriptors: Counter[str] | None
    threads: Counter[str]

    @staticmethod
    def now() -> _Holding:
        python = {thread.native_id: thread.name for thread in threading.enumerate()}
        threads = Counter(python.values())
        if os.path.isdir("/proc/self/task"):
            threads = Counter(python.get(int(task)) or _comm(task) for task in os.listdir("/proc/self/task"))
            del threads[""]
        descriptors = None
        if os.path.isdir("/proc/self/fd"):
            descriptors = Counter(_target(number) for number in os.listdir("/proc/self/fd"))
            del descriptors[""]
        return _Holding(descriptors, threads)

    def beyond(self, before: _Holding) -> list[str]:
        """What is held now and was not before, by name."""
        more = [f"thread {name!r}" for name in (self.threads - before.threads).elements()]
        if self.descriptors is not None and before.descriptors is not None:
            more += [f"descriptor of {target}" for target in (self.descriptors - before.descriptors).elements()]
        return more


def _comm(task: str) -> str:
    """A thread's name as the system has it; empty if it has just ended."""
    try:
        with open(f"/proc/self/task/{task}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def _target(number: str) -> str:
    """Where a descriptor leads; empty if it is gone, as the one of the listing itself."""
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def _baseline() -> _Holding:
    """What is held once the engine runs."""
    with lt.link("sim://balance").sync:
        pass
    return _Holding.now()


def _account(before: _Holding, tasks: Tasks) -> int:
    """Print what is left open. Returns the exit status."""
    after, left = _settled(before)
    left += ["an asyncio task"] * (tasks[1] - tasks[0])
    counts = []
    if before.descriptors is not None and after.descriptors is not None:
        counts.append(f"descriptors {before.descriptors.total()} before, {after.descriptors.total()} after")
    counts.append(f"threads {before.threads.total()} before, {after.threads.total()} after")
    counts.append(f"asyncio tasks {tasks[0]} before, {tasks[1]} after")
    own = [f"{before.threads[name]} {what}" for name, what in OWN.items() if before.threads[name]]
    print(f"\n{'left open: ' + ', '.join(left) if left else 'nothing is left open'}: {'; '.join(counts)}")
    print(f"(labtether's own, in both counts, until the process ends: {', '.join(own)})", flush=True)
    return 1 if left else 0


def _settled(before: _Holding, patience: float = 1.0) -> tuple[_Holding, list[str]]:
    """What is held, and what of it is new, once garbage was collected and endings under way had a little time."""
    give_up = time.monotonic() + patience
    while True:
        gc.collect()
        now = _Holding.now()
        left = now.beyond(before)
        if not left or time.monotonic() > give_up:
            return now, left
        time.sleep(0.01)
