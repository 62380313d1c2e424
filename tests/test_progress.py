"""`lt.progress()`: the bar stands where the messages say, and is closed however the loop ends."""

import io
import sys
from collections.abc import AsyncIterator
from typing import Any, Self

import anyio
import pytest
import tqdm

import labtether as lt
from labtether.testing import ScriptedInstrument, script
from support.nurseries import Oops, in_time

PARTS = ["ACK", "PROGRESS 10 %", "PROGRESS 55 %", "still busy", "PROGRESS 100 %", "DONE"]


class Bar:
    """Like tqdm, and it remembers."""

    def __init__(self, total: float | None = None, desc: str | None = None) -> None:
        self.total, self.desc = total, desc
        self.n: float = 0
        self.steps: list[float] = []
        self.closed = 0
        bars.append(self)

    def update(self, n: float = 1) -> None:
        assert not self.closed
        self.n += n
        self.steps.append(n)

    def close(self) -> None:
        self.closed += 1


bars: list[Bar] = []


@pytest.fixture(autouse=True)
def no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    bars.clear()
    # tqdm has a thread that watches its bars, which would stay.
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)


class said:
    """These messages, one turn of the loop apart."""

    def __init__(self, *messages: str) -> None:
        self._left = list(messages)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        await anyio.lowlevel.checkpoint()
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


def homing() -> ScriptedInstrument:
    """An instrument that tells how far it is."""
    arm = script("arm", framing="\n")
    telling = arm.when("HOME").reply(PARTS[0])
    for part in PARTS[1:]:
        telling.push(part)
    return arm


async def test_it_moves_with_an_exchange_and_changes_nothing() -> None:
    with homing() as arm:
        async with in_time(), lt.link(arm.url, framing="\n") as link, link.exchange(timeout=5) as talk:
            await talk.send("HOME")
            heard = []
            async for part in lt.progress(talk, total=100, bar=Bar, desc="home"):
                heard.append((part, bars[0].n))
                if part == "DONE":
                    break
    assert [part for part, _ in heard] == PARTS
    assert [at for _, at in heard] == [0, 10, 55, 55, 100, 100]
    (bar,) = bars
    assert (bar.total, bar.desc, bar.closed) == (100, "home", 1)
    assert bar.steps == [10, 45, 45]


async def test_without_a_total_a_message_without_a_number_is_a_step() -> None:
    async with in_time():
        async for _ in lt.progress(said("a", "b", "c 7", "d"), bar=Bar):
            assert not bars[0].closed
    assert bars[0].steps == [1, 1, 5, 1]
    assert bars[0].closed == 1


async def test_parse_says_how_far_it_is() -> None:
    def height(part: str) -> float | None:
        return "-abcd".index(part) or None

    async with in_time():
        async for _ in lt.progress(said("b", "d", "-", "a"), total=4, bar=Bar, parse=height):
            pass
    assert bars[0].steps == [2, 2, -3]


async def test_half_steps_stay_half() -> None:
    async with in_time():
        async for _ in lt.progress(said("0.5", "nan", "2.5"), total=4, bar=Bar, parse=float):
            pass
    assert bars[0].steps == [0.5, 2]


async def test_an_error_of_the_messages_closes_it() -> None:
    with homing() as arm:
        async with in_time(), lt.link(arm.url, framing="\n") as link:
            with pytest.raises(lt.LinkTimeout):
                async with link.exchange(timeout=5, idle=0.1) as talk:
                    await talk.send("HOME")
                    async for _ in lt.progress(talk, total=100, bar=Bar):
                        pass
    assert bars[0].n == 100
    assert bars[0].closed == 1


async def test_an_error_in_the_loop_closes_it() -> None:
    async with in_time():
        with pytest.raises(Oops):
            async for _ in lt.progress(said("1", "2"), bar=Bar):
                raise Oops("no plate")
        assert bars[0].closed == 1


async def test_a_cancellation_closes_it() -> None:
    with script("arm", framing="\n") as arm:
        arm.when("HOME").reply("1")
        async with in_time(), lt.link(arm.url, framing="\n") as link:
            with anyio.CancelScope() as scope:
                async with link.exchange(timeout=5) as talk:
                    await talk.send("HOME")
                    async for _ in lt.progress(talk, total=100, bar=Bar):
                        scope.cancel()
            assert scope.cancelled_caught
    assert bars[0].steps == [1]
    assert bars[0].closed == 1


async def test_where_it_is_held_it_is_closed_by_aclose() -> None:
    ended = []

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                await anyio.lowlevel.checkpoint()
                yield "x"
        finally:
            ended.append(True)

    async with in_time():
        held = lt.progress(endless(), bar=Bar)
        async for _ in held:
            break
        closed = bars[0].closed
        assert not closed
        assert repr(held) == "<Progress at 1>"
        await held.aclose()
        assert bars[0].closed == 1
        assert ended == [True]
        await held.aclose()
        assert [part async for part in held] == []
        assert bars[0].closed == 1


async def test_one_that_is_made_is_used_and_closed() -> None:
    mine = Bar(total=7)
    async with in_time():
        async for _ in lt.progress(said("3"), total=7, bar=mine):
            pass
    assert bars == [mine]
    assert (mine.n, mine.closed) == (3, 1)


async def test_a_real_tqdm_shows_it() -> None:
    paper = io.StringIO()

    def on_paper(**options: Any) -> Any:
        return tqdm.tqdm(file=paper, mininterval=0, **options)

    async with in_time():
        async for _ in lt.progress(said("10 %", "100 %"), total=100, bar=on_paper, desc="home"):
            pass
    assert "home" in paper.getvalue()
    assert "100/100" in paper.getvalue()


async def test_tqdm_is_taken_if_it_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    async with in_time():
        async for _ in lt.progress(said("50"), total=50, desc="heating"):
            pass
    assert "heating: 100%" in capsys.readouterr().err


async def test_without_tqdm_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    async with in_time():
        assert [part async for part in lt.progress(said("1", "2"), total=2)] == ["1", "2"]
    assert capsys.readouterr().err == ""


async def test_one_that_was_never_begun_shows_nothing() -> None:
    held = lt.progress(said("1"), bar=Bar)
    await held.aclose()
    assert bars == []


class Half:
    """No bar: it cannot be closed."""

    def update(self, n: float) -> None:
        raise AssertionError


async def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="an async iterable"):
        lt.progress([1, 2])  # type: ignore[arg-type]
    for total, error in ((0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("9", TypeError)):
        with pytest.raises(error, match="total is"):
            lt.progress(said(), total=total)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="parse is a function"):
        lt.progress(said(), parse=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bar is like tqdm"):
        lt.progress(said(), bar=3)
    with pytest.raises(TypeError, match=r"has update\(\) and close\(\); Half has not"):
        await anext(lt.progress(said("1"), bar=Half()))


async def test_where_it_is_held_the_end_and_an_error_close_it_at_once() -> None:
    class Failing(said):
        async def __anext__(self) -> str:
            if not self._left:
                raise Oops("jammed")
            return await super().__anext__()

    async with in_time():
        held = lt.progress(said("1"), bar=Bar)
        assert [part async for part in held] == ["1"]
        failing = lt.progress(Failing("1"), bar=Bar)
        with pytest.raises(Oops):
            _ = [part async for part in failing]
    assert [bar.closed for bar in bars] == [1, 1]
    assert repr(held) == repr(failing) == "<Progress over 1>"


async def test_a_bar_that_cannot_be_closed_does_not_take_the_place_of_what_came() -> None:
    class Stuck(Bar):
        def close(self) -> None:
            raise OSError("the terminal is gone")

    async def fail() -> AsyncIterator[str]:
        yield PARTS[1]
        raise Oops

    with pytest.raises(Oops) as raised:
        async for _ in lt.progress(fail(), total=100, bar=Stuck):
            assert bars
    assert any("the terminal is gone" in note for note in raised.value.__notes__)
