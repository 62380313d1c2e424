"""Work for executors: what fails, what can be held up, and where a task of theirs is."""

import threading
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

SOON = 30.0
"""Seconds after which a wait that should have ended is a failure."""

Task = Generator[Any, Any, Any]


class Oops(Exception):
    """What the work of these tests raises."""


def fail(what: str = "oops") -> None:
    raise Oops(what)


def place(future: Future[Any]) -> str:
    """Where the executor has it."""
    return str(future._place())  # type: ignore[attr-defined]


def until_suspended(future: Future[Any]) -> None:
    """It has no event: the worker lets go of it."""
    while place(future) != "suspended":
        assert not future.done()


class Gate:
    """Work that says when it runs and goes on when it may."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Semaphore(0), threading.Event()

    def __call__(self, value: Any = None) -> Any:
        self.reached.release()
        assert self.open.wait(SOON)
        return value

    def is_reached(self) -> bool:
        return self.reached.acquire(timeout=SOON)
