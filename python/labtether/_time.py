"""Waiting for a time, and letting others run."""

from __future__ import annotations

import math
from types import coroutine
from typing import Any

from labtether import _core
from labtether._engine import ensure_started

__all__ = ["pause", "sleep", "sleep_until"]


async def sleep(seconds: float) -> None:
    """Sleep for so many seconds. The time is kept in Rust: it is over when it is over, also where a loop was blocked
    meanwhile. Always lets others run. Raises ValueError for a negative time."""
    operation = _core.sleep(_seconds(seconds, "seconds", least=0.0))
    ensure_started()
    if seconds == 0:
        await pause()
    else:
        await operation


async def sleep_until(epoch: float) -> None:
    """Sleep until the wall clock shows `epoch` (seconds since 1970, as `time.time()` and `datetime.timestamp()` give),
    exact although that clock may be set meanwhile. A time that has passed lets others run, once."""
    at = _seconds(epoch, "epoch")
    ensure_started()
    await pause()
    await _core.sleep_until(at)


def _seconds(value: Any, what: str, *, least: float | None = None) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number of seconds, not {type(value).__name__}")
    if math.isnan(value) or (least is not None and value < least):
        raise ValueError(f"{what} is {'not nan' if math.isnan(value) else 'not negative'}: {value}")
    return float(value)


@coroutine
def _bare_yield() -> Any:
    yield


async def pause() -> None:
    """Let others run, once; a cancellation that is due is delivered here."""
    if _core.is_blocking():
        return
    if _core.in_trio():
        import trio

        await trio.lowlevel.checkpoint()
    else:
        await _bare_yield()
