"""Whatever a lifespan fails with, it ends, and somebody is told (laws 4 and 8)."""

import asyncio
import functools
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.balances import told
from support.scales import Balance, Scale

__all__ = ["told"]


class Unspeakable(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


class Failing(lt.Instrument):
    """Fails with an error before or after its `yield`."""

    def __init__(self, error: BaseException, when: str = "after") -> None:
        self.error, self.when = error, when

    async def lifespan(self) -> AsyncIterator[None]:
        if self.when == "before":
            raise self.error
        yield
        await anyio.sleep(0.01)
        raise self.error


class Late(Failing):
    """Cannot be set up, and says so when another is."""

    def __init__(self, other: lt.Instrument) -> None:
        super().__init__(OSError("no answer"), "before")
        self.other = other

    async def lifespan(self) -> AsyncIterator[None]:
        while self.other.state != "open":
            await anyio.sleep(0.001)
        async for _ in super().lifespan():
            yield


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_error_that_cannot_be_shown_is_an_error_like_others(when: str) -> None:
    failing = Failing(Unspeakable(), when)
    with pytest.raises(Unspeakable):
        async with failing:
            assert when == "after"
    assert failing.state == "closed"
    assert "Unspeakable" in repr(failing)


async def test_a_filter_that_fails_does_not_keep_a_lifespan_from_ending(told: ScriptedInstrument) -> None:
    class Alarmed(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link, lt.open_nursery("watch") as nursery:
                nursery.start_soon(self._fail)
                yield

        async def _fail(self) -> None:
            raise ValueError("the door is open")

    def fails(record: logging.LogRecord) -> bool:
        raise OSError("the disk is full")

    logger = logging.getLogger("labtether.lifespan")
    logger.addFilter(fails)
    try:
        alarmed = await Alarmed(told.port).setup()
        while alarmed.state != "closed":
            await anyio.sleep(0.001)
        with pytest.raises(ExceptionGroup):
            await alarmed.stop()
    finally:
        logger.removeFilter(fails)


async def test_a_link_that_a_part_of_the_lifespan_has_lost_is_told(told: ScriptedInstrument) -> None:
    class Watching(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link, lt.open_nursery("watch") as nursery:
                nursery.start_soon(self._listen)
                yield

        async def _listen(self) -> None:
            await self.link.receive(match="ALARM", timeout=30)

    watching = Watching(told.port)
    with pytest.raises(ExceptionGroup) as raised:
        async with watching:
            told.disconnect()
            while watching.state != "closed":
                await anyio.sleep(0.001)
    assert raised.group_contains(lt.LinkLost)


async def test_what_fails_while_several_are_undone_is_on_the_error() -> None:
    parking = Failing(ValueError("the door is stuck"))
    with pytest.raises(OSError, match="no answer") as raised:
        await lt.setup(parking, Late(parking))
    assert any("the door is stuck" in note for note in raised.value.__notes__)


async def test_what_was_lost_and_cannot_be_set_up_with_others_is_closed(told: ScriptedInstrument) -> None:
    scale = await Scale(told.port).setup()
    told.disconnect()
    while scale.state != "lost":
        await anyio.sleep(0.001)
    told.reconnect()

    with pytest.raises(OSError, match="no answer"):
        await lt.setup(scale, Late(scale))
    assert (scale.state, scale.link.state) == ("closed", "closed")


async def test_a_closing_part_that_fails_while_its_wait_is_cancelled_is_noted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closing, cooled = anyio.Event(), anyio.Event()

    @asynccontextmanager
    async def lamp() -> AsyncIterator[None]:
        yield
        closing.set()
        await cooled.wait()
        raise ValueError("the lamp is hot")

    entered = lamp()
    await lt.lifecycle.enter(entered)
    notes: list[str] = []

    async def leave() -> None:
        try:
            await lt.lifecycle.exit(entered)
        except anyio.get_cancelled_exc_class() as error:
            notes.extend(getattr(error, "__notes__", ()))
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        await closing.wait()
        group.cancel_scope.cancel()
        cooled.set()
    assert any("the lamp is hot" in note for note in notes)
    assert "the lamp is hot" in caplog.text


def test_a_task_that_exits_does_not_end_the_loop_of_the_instruments(told: ScriptedInstrument) -> None:
    class Exiting(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            async with lt.open_nursery("watch") as nursery:
                nursery.start_soon(self._exit)
                yield

        async def _exit(self) -> None:
            sys.exit(3)

    exiting = Exiting()
    exiting.sync.setup()
    while exiting.state != "closed":
        pass
    with Scale(told.port).sync as scale:
        assert scale.weigh() == 1.5
    with pytest.raises(BaseExceptionGroup):
        exiting.sync.stop()


async def test_what_could_not_be_left_from_here_can_be_left_from_there() -> None:
    left: list[str] = []

    @asynccontextmanager
    async def furnace() -> AsyncIterator[None]:
        yield
        left.append("cold")

    entered = furnace()
    await lt.lifecycle.enter(entered)
    with pytest.raises(RuntimeError, match="lives in the event loop that runs in this thread"):
        lt.lifecycle.sync.exit(entered)
    await lt.lifecycle.exit(entered)
    assert left == ["cold"]


def test_methods_that_do_not_look_async_are_blocking_too(told: ScriptedInstrument) -> None:
    def logged(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any) -> Any:
            return method(*args)

        return call

    class Decorated(Scale):
        @logged
        async def tare(self) -> float:
            return await self.weigh()

        @staticmethod
        async def about() -> str:
            await asyncio.sleep(0)
            return "a scale"

    with Decorated(told.port).sync as scale:
        assert scale.tare() == 1.5
        assert scale.about() == "a scale"


@pytest.mark.asyncio_only
async def test_a_setup_whose_coroutine_is_closed_is_undone() -> None:
    class Warming(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            await anyio.sleep_forever()
            yield

    warming = Warming()
    setting_up = warming.setup()
    setting_up.send(None)
    setting_up.close()
    with anyio.fail_after(30):
        while warming.state != "closed":
            await anyio.sleep(0.001)
