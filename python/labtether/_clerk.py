"""The thread that runs the user's own functions for which Rust needs an answer: checksums, framings, reply ids. See
`src/bridge/clerk.rs`."""

from __future__ import annotations

import threading

from labtether import _core

__all__ = ["start"]


def start() -> None:
    """Start the thread. A daemon: a function that never returns is left behind at the end of the process."""
    threading.Thread(target=_work, name="labtether user code", daemon=True).start()


def _work() -> None:
    while _served():
        pass


def _served() -> bool:
    """Run one errand. In a function of its own, so that nothing of it is kept while waiting for the next."""
    errand = _core.next_errand()
    if errand is None:
        return False
    try:
        said = errand.function(errand.question)
    except BaseException as error:
        # Whatever it is, it is for whoever waits for the answer.
        errand.fail(error)
    else:
        errand.answer(said)
    return True
