"""Killed at every step: a typical procedure is cancelled at each of its awaits in turn; nothing is ever left."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any

import anyio
import pytest

import labtether as lt
from labtether import _core
from support.nurseries import Hardware, Oops, forever, in_time, nothing_left, settled

Ending = Callable[[], object]

ENOUGH = 500
"""More awaits than any of these procedures has."""


@coroutine
def counted(work: Awaitable[Any], at: int, act: Ending) -> Generator[Any, Any, Any]:
    """Await `work`, and call `act` when it waits for the `at`-th time, before its loop hears of that."""
    steps = work.__await__()
    count = 0
    send: Any = None
    thrown: BaseException | None = None
    while True:
        try:
            waits = steps.send(send) if thrown is None else steps.throw(thrown)
        except StopIteration as end:
            return end.value, count
        thrown = None
        if count == at:
            act()
        count += 1
        try:
            send = yield waits
        except BaseException as error:
            thrown = error


class Procedure:
    """What a user could write: a link, a lock, a service, children, a nested nursery, a started child."""

    def __init__(self) -> None:
        self.lock = lt.Lock("deck")
        self.hardware = Hardware("lamp")

    async def __call__(self) -> None:
        async with lt.open_nursery("procedure") as nursery:
            await nursery.enter(self.hardware)
            balance = await nursery.enter(lt.link("sim://balance", name="scale"))
            nursery.service(self.heartbeat)
            nursery.start_soon(self.move)
            assert await nursery.start(self.serve) == "ready"
            async with lt.open_nursery("nested") as nested:
                weighing = nested.start_soon(self.weigh, balance)
                nested.start_soon(self.move)
            assert (await weighing).startswith("I4 A")
            async with self.lock:
                await lt.sleep(0)
            for handle in nursery.children:
                if handle.name == "serve":
                    nursery.cancel("done")

    async def heartbeat(self) -> None:
        while True:
            await lt.sleep(0.001)

    async def serve(self, *, task_status: anyio.abc.TaskStatus[str]) -> None:
        await lt.pause()
        task_status.started("ready")
        await forever()

    async def move(self) -> None:
        async with self.lock:
            await lt.sleep(0.0005)

    async def weigh(self, balance: lt.Link[Any]) -> str:
        return str(await balance.query("I4"))

    async def assert_nothing_left(self) -> None:
        await nothing_left("procedure", "nested", "heartbeat", "serve", "move", "weigh", "scale", "lamp")
        assert not self.lock.locked, repr(self.lock)
        assert _core.alive()[1] == 0, _core.alive()[0]
        assert self.hardware.diary in ([], ["enter lamp", "leave lamp"])


async def test_the_procedure_works() -> None:
    procedure = Procedure()
    async with in_time():
        await procedure()
        await procedure.assert_nothing_left()
        assert procedure.hardware.diary == ["enter lamp", "leave lamp"]


@pytest.mark.parametrize("when", ["as it begins to wait", "later"])
async def test_a_scope_cancels_it_at_every_await_of_its_block(when: str) -> None:
    async with in_time(60):
        for at in range(ENOUGH):
            procedure = Procedure()
            count = 0
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as scope:

                    async def cancel(scope: anyio.CancelScope = scope) -> None:
                        await settled()
                        scope.cancel()

                    def later() -> None:
                        tasks.start_soon(cancel)

                    act: Ending = later if when == "later" else scope.cancel
                    _, count = await counted(procedure(), at, act)
                tasks.cancel_scope.cancel()
            await procedure.assert_nothing_left()
            if 0 < count <= at:
                break
        assert 5 < at < ENOUGH


async def test_its_own_nursery_is_cancelled_at_every_await_of_its_block() -> None:
    async with in_time(60):
        for at in range(ENOUGH):
            procedure = Procedure()

            def cancel() -> None:
                for nursery in lt._nursery._open:
                    nursery.cancel("at every step")

            _, count = await counted(procedure(), at, cancel)
            await procedure.assert_nothing_left()
            if count <= at:
                break
        assert 5 < at < ENOUGH


async def test_it_fails_at_every_await_of_its_block() -> None:
    """Thrown in by a child: its siblings, services and links are still ended in order."""

    async def fail() -> None:
        raise Oops

    async with in_time(60):
        for at in range(ENOUGH):
            procedure = Procedure()
            failed: list[int] = []

            def spoil(failed: list[int] = failed) -> None:
                for nursery in lt._nursery._open:
                    if nursery.name == "procedure":
                        try:
                            nursery.start_soon(fail)
                        except lt.ScopeClosed:
                            continue
                        failed.append(1)

            count = 0
            try:
                _, count = await counted(procedure(), at, spoil)
                assert not failed, "a failure was lost"
            except ExceptionGroup as group:
                assert failed
                assert group.split(Oops)[1] is None  # noqa: PT017  it need not come
            await procedure.assert_nothing_left()
            if 0 < count <= at:
                break
        assert 5 < at < ENOUGH


@pytest.mark.asyncio_only
async def test_asyncio_cancels_its_task_at_every_await() -> None:
    """asyncio's own cancel knows no shields: Ctrl-C in `asyncio.run` is one, and so is `asyncio.timeout`."""
    async with in_time(10):
        for at in range(ENOUGH):
            procedure = Procedure()
            tasks: list[asyncio.Task[Any]] = []

            def cancel(tasks: list[asyncio.Task[Any]] = tasks) -> None:
                tasks[0].cancel()

            tasks.append(asyncio.ensure_future(_as_coroutine(counted(procedure(), at, cancel))))
            _, hung = await asyncio.wait(tasks, timeout=3)
            if hung:
                free_by_hand()
                await asyncio.wait(tasks, timeout=3)
                pytest.fail(f"hangs when it is cancelled at its await number {at}")
            await procedure.assert_nothing_left()
            if not tasks[0].cancelled():
                break
        assert 5 < at < ENOUGH


def free_by_hand() -> None:
    """So that a test that would hang fails instead."""
    for nursery in list(lt._nursery._open):
        for host in nursery._keeping._hosts:
            host._close_now()


async def _as_coroutine(work: Awaitable[Any]) -> Any:
    return await work
