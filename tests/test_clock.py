"""The loop looks away for a tenth of a second at a time; readings are stamped when their replies came all the same.

The instrument's own record of when it spoke is on the same clock, `time.monotonic()`, in this process or another.
"""

import json
import re
import time
from itertools import pairwise

import anyio
import pytest

import labtether as lt
from support import Child, LoopCounter, PtyInstrument

EVERY = 0.02
LOOKS_AWAY = 0.1
TIMES = 10

LATE = 0.05
"""Half of the time the loop looks away: a stamp that is taken when Python looks is later than this every other time."""


class Balance:
    """Weighs: answers with the number of the answer, and remembers when it was asked and spoke, on both clocks."""

    def __init__(self) -> None:
        self.spoke: list[tuple[float, float]] = []

    def __call__(self, _command: bytes) -> bytes:
        self.spoke.append((time.monotonic(), time.time()))
        return b"%d\n" % len(self.spoke)


def assert_stamped_when_they_came(readings: list[lt.Reading[float]], spoke: list[tuple[float, float]]) -> None:
    assert [reading.value for reading in readings] == list(range(1, len(readings) + 1)), "none is missing"
    lags = [reading.monotonic - spoke[index][0] for index, reading in enumerate(readings)]
    assert min(lags) >= 0, "heard before it was said"
    assert sorted(lags)[len(lags) // 2] < LATE / 5
    assert sum(lag >= LATE for lag in lags) <= len(lags) // 20, f"stamped when Python looked: {lags}"
    offsets = [reading.time - spoke[index][1] for index, reading in enumerate(readings)]
    assert sorted(offsets)[len(offsets) // 2] < LATE / 5
    for earlier, later in pairwise(readings):
        assert later.time >= earlier.time
        assert later.monotonic >= earlier.monotonic


def off_the_beat(asked: list[float], began: float, every: float) -> float:
    """How far from a multiple of `every` half of them are at most, in beats; a quarter if there is no beat at all."""
    beats = [(at - began) / every for at in asked]
    return sorted(abs(beat - round(beat)) for beat in beats)[len(beats) // 2]


def assert_kept_pace(asked: list[float], every: float, away: list[tuple[float, float]]) -> None:
    """Beats may be lost where the machine was busy, but there is no drift and no crowd, and it goes on in each of the
    stretches `away` in which Python looks away."""
    # Any one of them may have been late itself, so the beat is that of the one which most agree with.
    assert min(off_the_beat(asked, began, every) for began in asked) < 0.25, "off the beat"
    beats = [(at - asked[0]) / every for at in asked]
    expected = round(beats[-1]) + 1
    # Whoever paced it in Python would have asked at a quarter of them, or fewer.
    assert 0.5 * expected <= len(asked) <= expected + 1, f"{len(asked)} questions in {expected} beats"
    for began, ended in away:
        assert any(began < at < ended for at in asked), "it stood still while nobody looked"


async def test_readings_are_stamped_when_they_came_and_not_when_python_looked() -> None:
    balance = Balance()
    readings: list[lt.Reading[float]] = []
    away: list[tuple[float, float]] = []
    with PtyInstrument(balance) as instrument:
        async with lt.serial(instrument.port) as link:
            async with link.poll("S", every=EVERY, parse=lt.number) as poll:
                began = time.monotonic()
                for _ in range(TIMES):
                    readings.append(await anext(poll))
                    began_away = time.monotonic()
                    time.sleep(LOOKS_AWAY)
                    away.append((began_away, time.monotonic()))
                took = time.monotonic() - began
                while len(readings) < len(balance.spoke):
                    readings.append(await anext(poll))
    assert_stamped_when_they_came(readings, balance.spoke)
    assert_kept_pace([monotonic for monotonic, _ in balance.spoke], EVERY, away)
    assert len(readings) >= 0.5 * took / EVERY, "it went on while nobody looked"


async def test_the_trace_has_replies_at_the_time_they_came() -> None:
    balance = Balance()
    with PtyInstrument(balance) as instrument:
        async with lt.serial(instrument.port) as link:
            for number in range(1, 6):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(link.query, "S")
                    await instrument.until_heard(number)
                    time.sleep(LOOKS_AWAY)
            heard = [event.monotonic for event in link.trace() if event.direction == "<"]
    lags = [at - spoke for at, (spoke, _) in zip(heard, balance.spoke, strict=True)]
    assert min(lags) >= 0
    assert sorted(lags)[len(lags) // 2] < LATE


async def test_a_busy_reader_gets_all_readings_in_one_batch_without_a_turn_of_the_loop_each() -> None:
    with PtyInstrument(Balance()) as instrument:
        async with lt.serial(instrument.port) as link, link.poll("S", every=0, count=200) as poll:
            await instrument.until_heard(200)
            time.sleep(LOOKS_AWAY)  # the last of them comes in
            with LoopCounter() as loop:
                values = [int(reading.value) async for reading in poll]
            loop.assert_calm()
    assert values == list(range(1, 201))


BALANCE_ELSEWHERE = """
    import json, os, sys, time, tty

    line, cable = os.openpty()
    tty.setraw(cable)
    print(os.ttyname(cable))
    spoke, unread = [], b""
    while b"Q" not in unread:
        unread += os.read(line, 4096)
        while b"\\n" in unread:
            command, _, unread = unread.partition(b"\\n")
            spoke.append((time.monotonic(), time.time()))
            os.write(line, b"%d\\n" % len(spoke))
    print(json.dumps(spoke))
"""


def hold_the_gil(seconds: float) -> None:
    """One call into C that lets no other thread of Python run, of about that length."""
    for length in range(14, 40):
        began = time.monotonic()
        assert re.match(r"(?:a|a)*b", "a" * length) is None
        took = time.monotonic() - began
        if took >= seconds / 2:
            return


async def test_readings_are_stamped_when_they_came_while_one_c_call_holds_the_interpreter() -> None:
    """The instrument lives in another process: in this one no thread of Python could answer."""
    readings: list[lt.Reading[float]] = []
    away: list[tuple[float, float]] = []
    with Child(BALANCE_ELSEWHERE) as child:
        async with lt.serial(child.line()) as link:
            async with link.poll("S", every=EVERY, parse=lt.number) as poll:
                for _ in range(5):
                    readings.append(await anext(poll))
                    began = time.monotonic()
                    hold_the_gil(LOOKS_AWAY)
                    away.append((began, time.monotonic()))
                held = len(readings)
                while len(readings) < 2 * held or readings[-1].monotonic < time.monotonic() - EVERY:
                    readings.append(await anext(poll))
            await link.send(lt.Raw(b"Q"))
            spoke: list[tuple[float, float]] = [(at, epoch) for at, epoch in json.loads(child.line())]
        child.finish()
    assert_stamped_when_they_came(readings, spoke)
    assert_kept_pace([monotonic for monotonic, _ in spoke], EVERY, away)


@pytest.mark.parametrize("every", [0.0, 0.005])
async def test_time_does_not_go_back(every: float) -> None:
    with PtyInstrument(Balance()) as instrument:
        async with lt.serial(instrument.port) as link:
            readings = [reading async for reading in link.poll("S", every=every, count=100)]
    assert len(readings) == 100
    assert all(later.time >= earlier.time for earlier, later in pairwise(readings))
    assert all(later.monotonic > earlier.monotonic for earlier, later in pairwise(readings))
