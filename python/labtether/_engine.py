"""Starting the engine on first need, and seeing to its end: the exit hook, the fork guard, and the clerk that writes
Rust's log lines."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  its exit hook has to be registered before ours, so that ours runs first
import logging
import os
import sys
import threading

from labtether import _await, _core  # noqa: F401  the first cancellation must not wait for an import

__all__ = ["ensure_started", "logger"]

logger = logging.getLogger("labtether")
logger.addHandler(logging.NullHandler())


class _Noticing(dict[int, bool]):
    """A logger's memory of its level, which `logging` clears whenever any level changes: then Rust is told whether
    anybody reads the traffic. It is not written down for nobody."""

    def clear(self) -> None:
        super().clear()
        _core.log_wires(_wire.isEnabledFor(logging.DEBUG))


_wire = logger.getChild("wire")
_wire._cache = _Noticing()  # type: ignore[attr-defined]
_wire._cache.clear()  # type: ignore[attr-defined]

_lock = threading.Lock()
_clerk: threading.Thread | None = None
_registered: set[str] = set()


def ensure_started() -> None:
    """Start the runtime thread, once. Raises ForkedProcess in a forked child, LinkClosed while the process ends."""
    global _clerk
    if _is_started():
        return
    with _lock:
        if _is_started():
            return
        _core.start()
        _register()
        clerk = threading.Thread(target=_write_log, name="labtether clerk", daemon=True)
        clerk.start()
        _clerk = clerk
    if "IPython" in sys.modules:
        from labtether import _ipython

        _ipython.attach()


def _register() -> None:
    """Once, also where Ctrl-C came in the middle of a first attempt to start."""
    # Runs before any pool or thread is joined, so a thread that is blocked in a query is let go first.
    for name, register in (
        ("threads", lambda: threading._register_atexit(_end)),  # type: ignore[attr-defined]
        ("exit", lambda: atexit.register(_end_for_good)),
        ("fork", _register_fork),
    ):
        if name not in _registered:
            _registered.add(name)
            register()


def _register_fork() -> None:
    os.register_at_fork(
        before=_core.before_fork, after_in_parent=_core.after_fork_in_parent, after_in_child=_core.after_fork_in_child
    )


def _end_for_good() -> None:
    """The second net, when every thread but daemons has been joined."""
    _end()
    _core.leave_daemons()


def _close_what_lives() -> float:
    """In the first net, and only where something was ever set up. Returns the seconds it took."""
    hosts = sys.modules.get("labtether._hosts")
    if hosts is None or not hosts.live_hosts():
        return 0.0
    from labtether._last import close_all

    return close_all()


def _is_started() -> bool:
    return _clerk is not None


def _write_log() -> None:
    while (record := _core.next_log_record()) is not None:
        level, topic, text, fields = record
        try:
            logger.getChild(topic).log(level, "%s", text, extra=fields)
        except Exception as error:
            # A filter or a handler of the user's: it must not silence what comes after.
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, _clerk)))


def _end() -> None:
    left = _core.shut_down(_close_what_lives())
    if left:
        logger.error("still running at the end of the process: %s", ", ".join(left))
    if _clerk is not None and _clerk is not threading.current_thread():
        _clerk.join(timeout=0.1)
