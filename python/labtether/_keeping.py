"""The outer tiers of a nursery: services, and what was entered. They outlive the ordinary children, and are shielded
until it is their turn."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio

from labtether import _core
from labtether._checks import check_name
from labtether._errors import CleanupTimeout
from labtether._handle import Handle
from labtether._hosted import Hosted
from labtether._outcome import Kept

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

    __slots__ = ("_hosts", "_nursery", "_services", "born", "group")

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._services: list[Handle[Any]] = []
        self._hosts: list[_Host] = []
        self.group = anyio.create_task_group()
        self.born = _core.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the nursery was opened."""
        return _core.monotonic() - self.born

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
        self.group.create_task(host.run(cm), name=handle._name)
        try:
            await host.entered.wait()
        except BaseException:
            # Cancelled, maybe in the very instant in which it was entered: nobody would know of it.
            host.give_up()
            with anyio.CancelScope(shield=True):
                await surely(handle._done)
            raise
        finally:
            if handle.done and host in self._hosts:
                self._hosts.remove(host)
        return cast("T", host.kept.fetch())

    async def close(self, ending: BaseException | None) -> BaseException | None:
        """End the services, then leave what was entered, in reverse. Cannot be cut short; each has its own time.
        A cancellation that came meanwhile (asyncio's own passes shields), for afterwards."""
        interrupt: BaseException | None = None
        with anyio.CancelScope(shield=True):
            for service in self._services:
                service._reason = service._reason or "the ordinary children have ended"
                service._cancel_now()
            for service in self._services:
                interrupt = await surely(service._done) or interrupt
            error = ending if isinstance(ending, Exception) else None
            while self._hosts:
                host = self._hosts.pop()
                host.leave(error)
                interrupt = await surely(host.handle._done) or interrupt
        return interrupt


async def surely(event: _core.Event) -> BaseException | None:
    """Wait for `event`, whatever comes: what came, to be raised afterwards."""
    interrupt: BaseException | None = None
    while not event.is_set():
        try:
            await event.wait()
        except GeneratorExit:
            raise
        except BaseException as error:
            interrupt = error
    return interrupt


async def _within(scope: anyio.CancelScope, run: Coroutine[Any, Any, None]) -> None:
    with scope:
        await run


class _Host:
    """The task in which one context manager is entered and left: cancel scopes nest by task."""

    __slots__ = ("_closing", "_ending", "_scope", "entered", "handle", "kept")

    def __init__(self, handle: Handle[None]) -> None:
        self.handle = handle
        self.entered = _core.Event(f"the entering of {handle._name}")
        """Set when it was entered, or could not be."""
        self._closing = _core.Event(f"the end of {handle._name}")
        self._ending: Exception | None = None
        self.kept = Kept()
        """What entering gave, or raised."""
        self._scope = anyio.CancelScope(shield=True)

    def detail(self) -> str | None:
        """What was entered, in its own words."""
        return None if self.kept.value is None else repr(self.kept.value)

    async def run(self, cm: AbstractAsyncContextManager[Any]) -> None:
        """The task. What goes wrong in entering is for who enters, and no failure of the nursery."""
        self.handle._starting = True
        self.handle._cancel = self._scope.cancel
        try:
            await self.handle._run(self._hosted(cm))
        except Exception as error:
            if not self.handle._starting:
                raise
            self.kept.error = error
        finally:
            self.entered.set()

    async def _hosted(self, cm: AbstractAsyncContextManager[Any]) -> None:
        try:
            with self._scope:
                async with cm as value:
                    self.kept.value = value
                    self.handle._starting = False
                    self.handle._cancel = self._close_now
                    lost = _watched(value, self._closing)
                    self.entered.set()
                    await self._closing.wait()
                    if (error := lost()) is not None:
                        raise error
                    if self._ending is not None:
                        raise self._ending
        except BaseException as error:
            if not _is_only(error, self._ending):
                raise
        finally:
            self._ending = self.kept.value = None
        if self._scope.cancelled_caught:
            self._was_cut_short()

    def _was_cut_short(self) -> None:
        if self.handle._starting:
            raise anyio.TaskCancelled(self.handle._why())
        if self._scope.deadline < math.inf:
            name = self.handle._name
            stuck = CleanupTimeout(f"{name} did not close within {CLOSING:g} s", stuck=[name])
            stuck.add_note(f"labtether: the tree:\n{self.handle._nursery.tree()}")
            raise stuck

    def _close_now(self) -> None:
        self._closing.set()

    def give_up(self) -> None:
        """Nobody wants it any more: it is left, or not entered at all."""
        self._closing.set()
        if self.handle._starting:
            self._scope.cancel()

    def leave(self, ending: Exception | None) -> None:
        """Have it left, because the nursery ends, with `ending` if that is a failure."""
        self._ending = ending
        self._scope.deadline = anyio.current_time() + CLOSING
        self._closing.set()


def _is_only(error: BaseException, ending: BaseException | None) -> bool:
    """Whether `error` is what the block was ended with, maybe wrapped or regrouped by task groups on its way."""
    if ending is None:
        return False
    known = {id(leaf) for leaf in _leaves(ending)}
    return all(id(leaf) in known for leaf in _leaves(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _watched(value: Any, closing: _core.Event) -> Callable[[], BaseException | None]:
    """A link that is lost, or an instrument that ends by itself, closes its host; afterwards: what became of it."""
    standing = getattr(value, "_labtether", None)
    if isinstance(host := getattr(standing, "host", None), Hosted):
        host.set_when_over(closing)
        return lambda: _why_over(host)
    wire = getattr(value, "_wire", None)
    if not isinstance(wire, _core.Wire):
        return lambda: None
    wire.set_when_over(closing)
    return lambda: wire.lost()


def _why_over(host: Hosted) -> BaseException | None:
    """What ended an instrument that nobody told to end."""
    if not host.over.is_set() or host.reason is None:
        return None
    return host.take_failure() or host.closed(host.reason)
