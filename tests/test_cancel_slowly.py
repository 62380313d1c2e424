"""Work that takes its time to stop, or does not: the await goes on until then, calmly, and gives up at its deadline.

That is law 2. Everything in Rust stops within microseconds, so here is a stand-in: what Python sees of an operation,
and nothing else of one.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Generator
from typing import Any, cast

import pytest
import trio

from labtether import _core
from labtether._await import settle
from labtether._ports import Wake
from labtether._trio import wait
from test_cancel_means import ON_ASYNCIO, ON_TRIO, Attempt, Means, name

STUCK = "labtether: the stand-in did not stop"


class Slow:
    """Ends `takes` seconds after it was told to; None: never."""

    key = 1 << 62
    shielded = False
    ordered = False
    parks = False
    patience = 0.0

    def __init__(self, takes: float | None) -> None:
        self._takes = takes
        self._ring: Any = None
        self._ender: threading.Timer | None = None
        self.over = False
        self.told = 0
        self.closed = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        operation = cast(_core.Operation, self)
        if trio.lowlevel.in_trio_task():
            return (yield from wait(operation).__await__())
        try:
            yield self.future()
        except BaseException as error:
            return (yield from settle(operation, error))
        raise AssertionError("nobody rings before it was told to stop")

    # -- what `_await.py` and `_trio.py` ask of an operation -----------------------------------------------------------

    def future(self) -> Wake:
        loop = asyncio.get_running_loop()
        wake = Wake(loop=loop)
        wake._resume = None
        wake._asyncio_future_blocking = True
        self._ring = lambda: loop.call_soon_threadsafe(wake.ring)
        return wake

    def poll_in(self, port: _core.Port) -> bool:
        self._ring = lambda: port.ring(self.key)
        return False

    def cancel(self) -> None:
        self.told += 1
        if self._takes is not None and self._ender is None:
            self._ender = threading.Timer(self._takes, self._end)
            self._ender.start()

    def _end(self) -> None:
        self.over = True
        self._ring()

    def settled(self) -> bool:
        return self.over

    def result(self) -> None:
        raise AssertionError("it has no value")

    def epitaph(self) -> str | None:
        return None if self.over else STUCK

    def left(self) -> None:
        return None

    def close(self) -> None:
        self.closed += 1
        if self._ender is not None:
            self._ender.join()


async def cancel(slow: Slow, means: Means) -> Attempt:
    async def work(attempt: Attempt) -> None:
        attempt.here()
        await slow

    async def drive() -> None:
        await attempt.reached.wait()
        attempt.cancel()

    attempt = Attempt(work)
    await means(attempt, drive)
    assert attempt.cancelled
    assert slow.told == 1
    assert slow.closed == 1
    return attempt


async def wait_for_it(means: Means) -> None:
    slow = Slow(0.2)
    attempt = await cancel(slow, means)
    assert slow.over
    assert attempt.seconds >= 0.19  # uvloop counts in milliseconds
    attempt.assert_ended_well()


async def give_it_up(means: Means, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(_core, "CANCEL_TIMEOUT", 0.2)
    began = time.monotonic()
    with caplog.at_level(logging.ERROR, "labtether"):
        attempt = await cancel(Slow(None), means)
    assert 0.19 <= attempt.seconds <= time.monotonic() - began  # uvloop counts in milliseconds
    assert attempt.seconds < 0.7
    assert getattr(attempt.error, "__notes__", []) == [STUCK]
    assert [record.getMessage() for record in caplog.records] == [STUCK.removeprefix("labtether: ")]
    attempt.loop.assert_calm()


@pytest.mark.asyncio_only
@pytest.mark.parametrize("means", ON_ASYNCIO, ids=name)
async def test_a_cancelled_await_on_asyncio_waits_calmly_for_what_stops_slowly(means: Means) -> None:
    await wait_for_it(means)


@pytest.mark.trio_only
@pytest.mark.parametrize("means", ON_TRIO, ids=name)
async def test_a_cancelled_await_on_trio_waits_calmly_for_what_stops_slowly(means: Means) -> None:
    await wait_for_it(means)


@pytest.mark.asyncio_only
@pytest.mark.parametrize("means", ON_ASYNCIO, ids=name)
async def test_what_does_not_stop_is_given_up_and_named_on_asyncio(
    means: Means, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await give_it_up(means, monkeypatch, caplog)


@pytest.mark.trio_only
@pytest.mark.parametrize("means", ON_TRIO, ids=name)
async def test_what_does_not_stop_is_given_up_and_named_on_trio(
    means: Means, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await give_it_up(means, monkeypatch, caplog)
