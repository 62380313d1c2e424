"""APIs that call back become awaitable."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any, cast, final

import anyio

from labtether import _core
from labtether._engine import ensure_started
from labtether._outcome import Kept

__all__ = ["Callback", "from_callback"]


@final
class Callback:
    """What is handed to the API. Call it, from any thread, with the value (several arguments become a tuple), or call
    `fail(error)`. The first call counts; later ones are ignored."""

    __slots__ = ("__weakref__", "_done", "_kept", "_lock")

    def __init__(self) -> None:
        self._done = _core.Event("a callback")
        self._lock = threading.Lock()
        self._kept = Kept()

    def __call__(self, *values: Any) -> None:
        self._resolve(values[0] if len(values) == 1 else (values or None), None)

    def fail(self, error: BaseException) -> None:
        """The await raises `error`."""
        if not isinstance(error, BaseException):
            raise TypeError(f"fail() takes an exception, not {type(error).__name__}")
        self._resolve(None, error)

    @property
    def done(self) -> bool:
        """Whether it was called, or its await has ended."""
        return self._done.is_set()

    def _resolve(self, value: Any, error: BaseException | None) -> None:
        with self._lock:
            if self._done.is_set():
                return
            self._kept.value, self._kept.error = value, error
            self._done.set()

    def __repr__(self) -> str:
        return f"<Callback: {'done' if self.done else 'not called yet'}>"


async def from_callback(register: Callable[[Callback], Any]) -> Any:
    """Call `register(callback)` and wait until `callback(value)` is called, from any thread; the value.

    What `register` returns cancels: a function, or an object with `cancel`, `close` or `dispose`; None: nothing to
    cancel. It is called once if the await is cancelled before the callback came (awaited if it is async, shielded), and
    not otherwise. What `register` raises is raised here.
    """
    if not callable(register):
        raise TypeError(f"from_callback takes a function that registers, not {type(register).__name__}")
    ensure_started()
    callback = Callback()
    undo = _undo_of(register(callback))
    try:
        await callback._done.wait()
    except BaseException:
        came = callback.done
        callback._resolve(None, None)
        if not came and undo is not None:
            undone = undo()
            if inspect.isawaitable(undone):
                with anyio.CancelScope(shield=True):
                    await undone
        raise
    return callback._kept.fetch()


def _undo_of(registration: Any) -> Callable[[], Any] | None:
    if registration is None:
        return None
    if inspect.iscoroutine(registration):
        registration.close()
        raise TypeError("register is a plain function that hands the callback to the API, not an async one")
    for undo in (registration, *(getattr(registration, method, None) for method in ("cancel", "close", "dispose"))):
        if callable(undo):
            return cast("Callable[[], Any]", undo)
    raise TypeError(
        f"register returned {type(registration).__name__}, which cannot cancel: return a function, an object with "
        "cancel(), close() or dispose(), or None"
    )
