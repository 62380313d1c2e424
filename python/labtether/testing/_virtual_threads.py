"""Virtual time and threads: one that waits for another in threading's own ways has nothing to do, and works again in
the instant in which it is told."""

from __future__ import annotations

import functools
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from labtether import _core

__all__ = ["begin", "end"]

_before: list[tuple[type, str, Any]] = []
_waiting: defaultdict[int, list[_core.Place]] = defaultdict(list)
_starting = threading.local()


def begin() -> None:
    """From now on."""
    for kind, name, made in (
        (threading.Condition, "wait", _wait),
        (threading.Condition, "notify", _notify),
        (threading.Thread, "start", _start),
        (threading.Thread, "join", _join),
        (threading.Thread, "_delete", _delete),
    ):
        if hasattr(kind, name):
            really = getattr(kind, name)
            _before.append((kind, name, really))
            setattr(kind, name, _instead(really, made))


def _instead(really: Callable[..., Any], made: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(really)
    def method(self: Any, *args: Any, **options: Any) -> Any:
        return made(self, really, *args, **options)

    return method


def end() -> None:
    """As it was."""
    while _before:
        setattr(*_before.pop())
    _waiting.clear()


def _resting(what: Any, wait: Callable[[], Any]) -> Any:
    if getattr(_starting, "now", False):
        return wait()
    _core.rest_here()
    place, waiting = _core.Place(), _waiting[id(what)]
    waiting.append(place)
    try:
        return wait()
    finally:
        waiting.remove(place)
        if not waiting:
            _waiting.pop(id(what), None)
        _core.work_here(again=True)


def _call(what: Any, most: int | None = None) -> None:
    for place in list(_waiting.get(id(what), ()))[:most]:
        place.call()


def _wait(self: threading.Condition, really: Callable[..., bool], timeout: float | None = None) -> Any:
    return _resting(self, lambda: really(self, timeout))


def _notify(self: threading.Condition, really: Callable[..., None], n: int = 1) -> None:
    _call(self, n)
    really(self, n)


def _start(self: threading.Thread, really: Callable[..., None]) -> None:
    # The new thread says that it is there: nobody but it has its turn meanwhile.
    _starting.now = True
    try:
        really(self)
    finally:
        _starting.now = False


def _join(self: threading.Thread, really: Callable[..., None], timeout: float | None = None) -> None:
    _resting(self, lambda: really(self, timeout))


def _delete(self: threading.Thread, really: Callable[..., None]) -> None:
    _call(self)
    really(self)
