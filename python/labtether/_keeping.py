"""The outer tiers of a nursery: services, and what was entered. They outlive the ordinary children, and are shielded
until it is their turn."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from labtether import _core
from labtether._checks import check_name
from labtether._errors import CleanupTimeout, LinkError
from labtether._handle import Handle
from labtether._log import stays_log
from labtether._time import sleep

if TYPE_CHECKING:
    from labtether._nursery import Nursery

__all__ = ["Keeping", "name_of", "work_of"]

T = TypeVar("T")

# What was entered may take so long to close (its own deadlines are shorter); then it is cancelled, and named.
CLOSING = 10.0


def work_of(async_fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
    """The coroutine of a child. Raises TypeError with the cure for what is none."""
    if isinstance(async_fn, FunctionType):
        work = async_fn(*args, **kwargs)
        if type(work) is CoroutineType:
            return work
    elif inspect.iscoroutine(async_fn):
        async_fn.close()
        raise TypeError(
            f"a nursery takes an async function and its arguments, no coroutine: start_soon({async_fn.__name__}, ...)"
        )
    elif not callable(async_fn):
        raise TypeError(f"a nursery takes an async function, not {type(async_fn).__name__}")
    else:
        work = async_fn(*args, **kwargs)
    if inspect.iscoroutine(work):
        return work
    if inspect.isawaitable(work):
        return _awaiting(work)
    name = getattr(async_fn, "__qualname__", repr(async_fn))
    raise TypeError(
        f"{name} is not an async function (it returned {type(work).__name__}); for code that blocks: lt.run_sync"
    )


def name_of(async_fn: Any, name: str | None) -> str:
    if name is not None:
        return check_name(name, "name")
    found = getattr(async_fn, "__qualname__", None) or getattr(type(async_fn), "__qualname__", "child")
    return str(found).replace(".<locals>.", ".").rpartition(".")[2] or "child"


async def _awaiting(work: Any) -> Any:
    return await work


class Keeping:
    """See the module."""

    __slots__ = ("_hosts", "_nursery", "_services", "_watch", "born", "group")

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._services: list[Handle[Any]] = []
        self._hosts: list[_Host] = []
        self._watch: anyio.CancelScope | None = None
        self.group = anyio.create_task_group()
        self.born = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the nursery was opened."""
        return time.monotonic() - self.born

    def services(self) -> list[Handle[Any]]:
        """The services, ended ones too."""
        return list(self._services)

    def hosts(self) -> list[Handle[None]]:
        """What is entered."""
        return [host.handle for host in self._hosts]

    def detail(self, handle: Handle[Any]) -> str | None:
        """What is known of something that was entered."""
        return next((host.detail() for host in self._hosts if host.handle is handle), None)

    def serve(self, handle: Handle[Any], work: Coroutine[Any, Any, Any]) -> None:
        """Start a service."""
        scope = anyio.CancelScope(shield=True)
        handle._cancel = scope.cancel
        self._nursery._live[handle] = None
        self._services.append(handle)
        self.group.create_task(_within(scope, handle._run(work)), name=handle._name)

    async def enter(self, handle: Handle[None], cm: AbstractAsyncContextManager[T]) -> T:
        """Enter a context manager in a task of its own, which leaves it when the nursery ends."""
        host = _Host(handle)
        self._hosts.append(host)
        self._nursery._live[handle] = None
        try:
            value: T = await self.group.start(host.run, cm, name=handle._name)
        except BaseException:
            if host in self._hosts:
                self._hosts.remove(host)
            handle._abandon()
            raise
        return value

    def watch(self) -> None:
        """The nursery was told to stop: if it has not in a while, the log says who goes on."""
        if self._watch is None:
            self._watch = anyio.CancelScope(shield=True)
            self.group.create_task(_within(self._watch, self._say_who_stays()), name="labtether watch")

    async def _say_who_stays(self) -> None:
        await sleep(_core.CANCEL_TIMEOUT)
        stays_log(self._nursery, _core.CANCEL_TIMEOUT)

    async def close(self, ending: BaseException | None) -> None:
        """End the services, then leave what was entered, in reverse. Cannot be cut short; each has its own time."""
        # What fails from now on starts no watch any more.
        self._watch = self._watch or anyio.CancelScope()
        self._watch.cancel()
        with anyio.CancelScope(shield=True):
            for service in self._services:
                service._reason = service._reason or "the ordinary children have ended"
                service._cancel_now()
            for service in self._services:
                await service._done.wait()
            error = ending if isinstance(ending, Exception) else None
            while self._hosts:
                await self._hosts.pop().leave(error)


async def _within(scope: anyio.CancelScope, run: Coroutine[Any, Any, None]) -> None:
    with scope:
        await run


class _Host:
    """The task in which one context manager is entered and left: cancel scopes nest by task."""

    __slots__ = ("_closing", "_ending", "_shield", "_value", "handle")

    def __init__(self, handle: Handle[None]) -> None:
        self.handle = handle
        self._closing = _core.Event(f"the end of {handle._name}")
        self._ending: Exception | None = None
        self._shield = anyio.CancelScope()
        self._value: Any = None

    def detail(self) -> str | None:
        """What was entered, in its own words."""
        return None if self._value is None else repr(self._value)

    async def run(self, cm: AbstractAsyncContextManager[Any], *, task_status: anyio.abc.TaskStatus[Any]) -> None:
        handle = self.handle
        handle._starting = True
        await handle._run(self._hosted(cm, task_status))

    async def _hosted(self, cm: AbstractAsyncContextManager[Any], task_status: anyio.abc.TaskStatus[Any]) -> None:
        try:
            with self._shield:
                async with cm as value:
                    self._shield.shield = True
                    self.handle._starting = False
                    self.handle._cancel = self._close_now
                    self._value = value
                    lost = _watched(value, self._closing)
                    task_status.started(value)
                    await self._closing.wait()
                    if (error := lost()) is not None:
                        raise error
                    if self._ending is not None:
                        raise self._ending
        except BaseException as error:
            if not _is_only(error, self._ending):
                raise
        finally:
            self._ending = None
            self._value = None
        if self._shield.cancelled_caught and self.handle._starting is False:
            name = self.handle._name
            stuck = CleanupTimeout(f"{name} did not close within {CLOSING:g} s", stuck=[name])
            stuck.add_note(f"labtether: the tree:\n{self.handle._nursery.tree()}")
            raise stuck

    def _close_now(self) -> None:
        self._closing.set()

    async def leave(self, ending: Exception | None) -> None:
        """Have it left, and wait until it was."""
        self._ending = ending
        self._shield.deadline = anyio.current_time() + CLOSING
        self._closing.set()
        await self.handle._done.wait()


def _is_only(error: BaseException, ending: BaseException | None) -> bool:
    """Whether `error` is what the block was ended with, maybe wrapped by task groups on its way."""
    if ending is None or error is ending:
        return error is ending
    if isinstance(error, BaseExceptionGroup):
        return error.split(lambda one: one is ending)[1] is None
    return False


def _watched(value: Any, closing: _core.Event) -> Callable[[], LinkError | None]:
    """A link that is lost closes its host; afterwards: what became of it."""
    wire = getattr(value, "_wire", None)
    if not isinstance(wire, _core.Wire):
        return lambda: None
    wire.set_when_over(closing)
    return lambda: wire.lost()
