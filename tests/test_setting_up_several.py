"""`lt.setup` and `lt.stop` with several at once: all or none, and all failures."""

import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.balances import other, told
from support.scales import Scale

__all__ = ["other", "told"]


class Bad(lt.Instrument):
    """Never comes up, and says so when the others have."""

    def __init__(self, error: Exception, *others: lt.Instrument) -> None:
        self.error = error
        self.others = others

    async def lifespan(self) -> AsyncIterator[None]:
        while any(other.state != "open" for other in self.others):
            await anyio.lowlevel.checkpoint()
        if self.error.args:
            raise self.error
        yield


async def test_several_are_set_up_and_stopped_at_once(told: ScriptedInstrument, other: ScriptedInstrument) -> None:
    left, right = await lt.setup(Scale(told.port), Scale(other.port))
    assert await lt.gather(left.weigh, right.weigh) == [1.5, 1.5]
    await lt.stop(left, right)
    assert [left.state, right.state] == ["closed", "closed"]
    assert told.heard == other.heard == ["@", "S", "P"]


async def test_all_or_none(told: ScriptedInstrument, other: ScriptedInstrument) -> None:
    before = await Scale(other.port).setup()
    scale = Scale(told.port)
    with pytest.raises(ValueError, match="no such stage"):
        await lt.setup(scale, before, Bad(ValueError("no such stage"), scale))
    assert (scale.state, scale.link.state) == ("closed", "closed")
    assert before.state == "open", "what was set up before is left alone"
    with pytest.raises(TypeError, match="has no lifespan"):
        await lt.setup(scale, lt.Instrument("nothing"))
    assert scale.state == "closed"
    with pytest.raises(ExceptionGroup) as raised:
        await lt.setup(Bad(ValueError("one")), Bad(KeyError("two")))
    assert sorted(map(repr, raised.value.exceptions)) == ["KeyError('two')", "ValueError('one')"]
    await before.stop()


async def test_a_setup_that_fails_at_once_runs_once() -> None:
    runs: list[str] = []

    class Counted(Bad):
        async def lifespan(self) -> AsyncIterator[None]:
            runs.append(str(self.error))
            async for _ in super().lifespan():
                yield

    with pytest.raises(ExceptionGroup):
        await lt.setup(Counted(ValueError("one")), Counted(ValueError("two")))
    assert sorted(runs) == ["one", "two"]
    twice = Counted(ValueError("three"))
    with pytest.raises(ValueError, match="three"):
        await lt.setup(twice, twice)
    assert sorted(runs) == ["one", "three", "two"]


async def test_what_fails_while_the_first_failure_is_told_is_raised_with_it() -> None:
    class Slow(lt.Instrument):
        """Has failed when the other has, and is not done with it."""

        async def lifespan(self) -> AsyncIterator[None]:
            try:
                if self.state:
                    raise KeyError("two")
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    while bad.state != "closed":
                        await anyio.lowlevel.checkpoint()
                    # By then the wait for this one has been cancelled.
                    await anyio.wait_all_tasks_blocked()

    bad = Bad(ValueError("one"))
    with pytest.raises(ExceptionGroup) as raised:
        await lt.setup(bad, Slow())
    assert sorted(map(repr, raised.value.exceptions)) == ["KeyError('two')", "ValueError('one')"]
    assert not any("undone" in note for note in getattr(raised.value, "__notes__", ()))


async def test_stop_without_arguments_stops_everything(told: ScriptedInstrument, other: ScriptedInstrument) -> None:
    link = await lt.serial(other.port, framing="\r\n").setup()

    class Borrowing(lt.Instrument):
        """Parks over a link that it was given, which has to be there until then."""

        async def lifespan(self) -> AsyncIterator[None]:
            yield
            await link.query("P")

    scale, borrowing = await lt.setup(Scale(told.port), Borrowing())
    await lt.stop()
    assert [scale.state, borrowing.state, link.state] == ["closed"] * 3
    assert told.heard == ["@", "P"]
    assert other.heard == ["P"]
    await lt.stop()


async def test_one_that_fails_to_stop_does_not_keep_the_others(told: ScriptedInstrument) -> None:
    class Stubborn(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            yield
            raise ValueError("stubborn")

    scale, stubborn = await lt.setup(Scale(told.port), Stubborn())
    with pytest.raises(ValueError, match="stubborn"):
        await lt.stop(scale, stubborn)
    assert [scale.state, stubborn.state] == ["closed", "closed"]
    await stubborn.setup()
    with pytest.raises(ValueError, match="stubborn"):
        await lt.stop()


async def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"setup takes links and instruments, not int"):
        await lt.setup(1)
    with pytest.raises(TypeError, match=r"not _AsyncGeneratorContextManager; .*lt\.lifecycle\.enter"):
        await lt.stop(asynccontextmanager(Bad.lifespan)(Bad(ValueError())))
    with pytest.raises(TypeError, match="async context manager, not int"):
        await lt.lifecycle.enter(1)  # type: ignore[arg-type]
    with pytest.raises(lt.LinkClosed, match="was not entered here"):
        await lt.lifecycle.exit(1)


def test_a_blocking_stop_stops_all_wholes_and_raises_all_failures(told: ScriptedInstrument) -> None:
    class Stubborn(lt.Instrument):
        def __init__(self, error: Exception) -> None:
            self.error = error

        async def lifespan(self) -> AsyncIterator[None]:
            yield
            raise self.error

    class Whole(lt.Instrument):
        """Parks by means of its part."""

        def __init__(self, part: Scale) -> None:
            self.part = part

        async def lifespan(self) -> AsyncIterator[None]:
            async with self.part:
                yield
                await self.part.weigh()

    whole = Whole(Scale(told.port))
    stubborn = [Stubborn(ValueError("one")), Stubborn(KeyError("two"))]
    everything = lt.lifecycle.sync.setup(stubborn[0], whole, stubborn[1])
    with pytest.raises(ExceptionGroup) as raised:
        lt.lifecycle.sync.stop()
    assert sorted(map(repr, raised.value.exceptions)) == ["KeyError('two')", "ValueError('one')"]
    assert [one.state for one in everything] == ["closed"] * 3
    assert told.heard == ["@", "S", "P"]
    stubborn[0].sync.setup()
    with pytest.raises(ValueError, match="one"):
        lt.lifecycle.sync.stop(stubborn[0])


def test_an_interrupted_blocking_stop_stops_everything_and_is_told(told: ScriptedInstrument) -> None:
    class Interrupting(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            yield
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            raise ValueError("as well")

    scale, interrupting = lt.lifecycle.sync.setup(Scale(told.port), Interrupting())
    with pytest.raises(KeyboardInterrupt) as raised:
        lt.lifecycle.sync.stop()
    assert [scale.state, interrupting.state] == ["closed"] * 2
    assert any("as well" in note for note in raised.value.__notes__)
    assert told.heard == ["@", "P"]
