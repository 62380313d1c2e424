"""What the tests of nurseries share: work that waits, guards against hanging, and what must be gone afterwards."""

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Self

import anyio

import labtether as lt
from labtether import _core

SOON = 10.0
"""What comes at once comes long before this."""

FAR = 3600.0
"""A time limit that no test reaches."""


class Oops(Exception):
    """What the work of these tests raises."""


class Hardware:
    """A context manager that writes down what is done with it."""

    def __init__(self, name: str = "hardware", diary: list[str] | None = None) -> None:
        self.name = name
        self.diary = [] if diary is None else diary
        self.seen: BaseException | None = None
        """The error that it was left with."""

    async def __aenter__(self) -> Self:
        await anyio.lowlevel.checkpoint()
        self.diary.append(f"enter {self.name}")
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.seen = error
        self.diary.append(f"leave {self.name}")


@contextlib.asynccontextmanager
async def in_time(seconds: float = SOON) -> AsyncIterator[None]:
    """A guard against hanging, not a measurement."""
    with anyio.fail_after(seconds):
        yield


async def forever() -> None:
    """Wait until cancelled."""
    await anyio.sleep_forever()


async def fail(what: str = "oops") -> None:
    """Fail at once."""
    raise Oops(what)


async def value_of(value: Any) -> Any:
    """Return it, one turn later."""
    await anyio.lowlevel.checkpoint()
    return value


class Stubborn:
    """A child that waits, and that, cancelled, still does something."""

    def __init__(self, then: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._then = then
        self.waits = anyio.Event()
        self.cancelled = anyio.Event()
        self.ended = False

    async def __call__(self) -> None:
        self.waits.set()
        try:
            await anyio.sleep_forever()
        except BaseException:
            self.cancelled.set()
            with anyio.CancelScope(shield=True):
                await self._then()
            raise
        finally:
            self.ended = True


async def settled() -> None:
    """Let everybody else of this loop run until they wait, or had many turns. Waits for no time and for no thread."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group and in the groups in it."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def texts(error: BaseException) -> list[str]:
    """What they say, sorted."""
    return sorted(str(leaf) for leaf in leaves(error))


def notes(error: BaseException) -> str:
    """Its notes, as one text."""
    return "\n".join(getattr(error, "__notes__", ()))


def in_tree(name: str) -> bool:
    """Whether anybody of that name is alive."""
    return lt.lifecycle.tree().find(name) is not None


async def nothing_left(*names: str) -> None:
    """Fail unless all of them are gone, and nobody is in the census."""
    tree = lt.lifecycle.tree()
    for name in names:
        assert tree.find(name) is None, f"{name} is still there:\n{tree}"
    await until(lambda: _core.alive()[1] == 0, lambda: _core.alive()[0])


async def until(condition: Callable[[], bool], told: Callable[[], object] = lambda: "") -> None:
    """Wait for something that another thread does."""
    with anyio.move_on_after(SOON):
        while not condition():
            await anyio.sleep(0.001)
    assert condition(), f"did not come: {told()}"


@contextlib.contextmanager
def thread(fn: Callable[[], Any]) -> Iterator[list[BaseException]]:
    """Run `fn` in a plain thread for the length of the block; what it raised is in the list after the block."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            fn()
        except BaseException as error:
            raised.append(error)

    worker = threading.Thread(target=run, name="test thread")
    worker.start()
    try:
        yield raised
    finally:
        worker.join(SOON)
        assert not worker.is_alive(), "the thread does not end"


async def in_thread(fn: Callable[[], Any]) -> Any:
    """What `fn` returns in a plain thread; this loop goes on meanwhile."""
    values: list[Any] = []
    with thread(lambda: values.append(fn())) as raised:
        await until(lambda: bool(values or raised))
    if raised:
        raise raised[0]
    return values[0]


async def in_other_loop(work: Callable[[], Coroutine[Any, Any, Any]], backend: str = "asyncio") -> Any:
    """What `work` returns in an event loop of its own, in another thread."""
    return await in_thread(lambda: anyio.run(work, backend=backend))
