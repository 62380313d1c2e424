"""`lt.Instrument`: one lifespan gives `async with`, setup, stop, states and errors that name the instrument (law 6)."""

import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument
from support.balances import told
from support.scales import Balance, Scale, Watchful

__all__ = ["told"]


async def test_a_block_readies_the_instrument_and_parks_it(told: ScriptedInstrument) -> None:
    async with Scale(told.port) as scale:
        assert scale.state == "open"
        assert await scale.weigh() == 1.5
    assert scale.state == "closed"
    assert told.heard == ["@", "S", "P"]
    assert scale.ended == [None]


async def test_what_is_set_up_in_one_task_is_stopped_in_another(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    async with anyio.create_task_group() as group:
        group.start_soon(scale.setup)
    assert await scale.weigh() == 1.5
    async with anyio.create_task_group() as group:
        group.start_soon(scale.stop)
    assert told.heard == ["@", "S", "P"]


async def test_setup_twice_does_nothing_and_stop_twice_neither(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    assert await scale.setup() is scale
    assert await scale.setup() is scale
    await scale.stop()
    await scale.stop()
    assert told.heard == ["@", "P"]
    await scale.setup()
    await scale.stop()
    assert told.heard == ["@", "P", "@", "P"]


async def test_setups_that_come_together_share_one_lifespan(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    await lt.gather(scale.setup, scale.setup, scale.setup)
    await lt.gather(scale.stop, scale.stop)
    assert told.heard == ["@", "P"]


async def test_setup_passes_its_arguments_to_the_lifespan(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    await scale.setup(hello="S")
    await scale.stop()
    assert told.heard == ["S", "P"]
    with pytest.raises(TypeError, match="nonsense"):
        await scale.setup(nonsense=1)
    assert scale.state == "closed"


async def test_methods_raise_link_closed_that_names_the_instrument(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    scale.name = "left scale"
    with pytest.raises(lt.LinkClosed, match=r"left scale is closed: it is not set up; .*setup"):
        await scale.weigh()
    with pytest.raises(lt.LinkClosed, match="left scale"):
        async for _ in scale.numbers(1):
            raise AssertionError
    async with scale:
        assert [value async for value in scale.numbers(2)] == [1.5, 1.5]
    with pytest.raises(lt.LinkClosed, match=r"left scale is closed: it was stopped 0\.\d s ago"):
        await scale.weigh()


async def test_it_is_entered_once(told: ScriptedInstrument) -> None:
    async with Scale(told.port) as scale:
        with pytest.raises(lt.LinkBusy, match=rf"Scale is busy: it was set up at .*{__name__}.* is entered once"):
            async with scale:
                raise AssertionError
        assert await scale.weigh() == 1.5
    assert told.heard == ["@", "S", "P"]


async def test_the_bodys_error_ends_it_and_is_known_to_the_closing_part(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    error = ZeroDivisionError("the body's")
    with pytest.raises(ZeroDivisionError) as raised:
        async with scale:
            raise error
    assert raised.value is error
    assert scale.ended == [error]
    assert told.heard == ["@", "P"]


async def test_a_setup_that_fails_leaves_nothing(told: ScriptedInstrument) -> None:
    told.when("BAD").reply("ERROR")

    class Fussy(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link:
                if (answer := await self.link.query("BAD")) == "ERROR":
                    raise ValueError(answer)
                yield

    scale = Fussy(told.port)
    with pytest.raises(ValueError, match="ERROR") as raised:
        await scale.setup()
    assert any("in the lifespan of Fussy, set up at" in note for note in raised.value.__notes__)
    assert (scale.state, scale.link.state) == ("closed", "closed")
    with pytest.raises(lt.LinkClosed, match="Fussy is closed: ValueError: ERROR"):
        await scale.weigh()


async def test_what_the_lifespan_leaves_open_is_closed(told: ScriptedInstrument) -> None:
    class Careless(Balance):
        async def lifespan(self, fail: bool = False) -> AsyncIterator[None]:
            await self.link.setup()
            if fail:
                raise ValueError("after opening")
            yield

    scale = Careless(told.port)
    with pytest.raises(ValueError, match="after opening"):
        await scale.setup(fail=True)
    assert scale.link.state == "closed"
    async with scale:
        assert scale.link.state == "open"
    assert scale.link.state == "closed"


async def test_a_closing_part_that_fails_is_told_after_everything_is_released(told: ScriptedInstrument) -> None:
    class Failing(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link:
                yield
                raise ValueError("while parking")

    scale = Failing(told.port)
    await scale.setup()
    with pytest.raises(ValueError, match="while parking"):
        await scale.stop()
    assert (scale.state, scale.link.state) == ("closed", "closed")
    await scale.stop()
    with pytest.raises(KeyError, match="the body's") as raised:
        async with scale:
            raise KeyError("the body's")
    assert any("could not be closed properly: ValueError: while parking" in note for note in raised.value.__notes__)


async def test_a_closing_part_that_finds_the_link_gone_is_only_logged(
    told: ScriptedInstrument, caplog: pytest.LogCaptureFixture
) -> None:
    scale = await Scale(told.port).setup()
    told.disconnect()
    with pytest.raises(lt.LinkLost):
        await scale.weigh()
    assert scale.state == "lost"
    await scale.stop()
    assert scale.state == "closed"
    assert "Scale: its closing part could not reach the instrument" in caplog.text


async def test_a_lost_instrument_is_set_up_again_by_setup(told: ScriptedInstrument) -> None:
    scale = await Scale(told.port).setup()
    told.disconnect()
    with pytest.raises(lt.LinkLost):
        await scale.weigh()
    told.reconnect()
    await scale.setup()
    assert await scale.weigh() == 1.5
    await scale.stop()
    assert told.heard[-3:] == ["@", "S", "P"]


async def test_a_closing_part_has_its_deadline(told: ScriptedInstrument) -> None:
    class Slow(Balance):
        close_timeout = 0.05

        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link:
                yield
                await anyio.sleep_forever()

    scale = Slow(told.port)
    await scale.setup()
    with pytest.raises(lt.CleanupTimeout, match=r"Slow did not close within 0\.05 s") as raised:
        await scale.stop()
    assert raised.value.stuck == ["Slow"]
    assert (scale.state, scale.link.state) == ("closed", "closed")


async def test_sub_instruments_are_opened_together_and_closed_in_reverse(told: ScriptedInstrument) -> None:
    order: list[str] = []

    class Part(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            order.append(f"{self.name} up")
            yield
            order.append(f"{self.name} down")

    class Deck(lt.Instrument):
        def __init__(self) -> None:
            self.scale, self.left, self.right = Scale(told.port), Part("left"), Part("right")

        async def lifespan(self, fail: bool = False) -> AsyncIterator[None]:
            async with self.scale, self.left, self.right:
                if fail:
                    raise ValueError("the deck's")
                yield
                order.append(f"weighs {await self.scale.weigh()}")

    deck = Deck()
    async with deck:
        tree = lt.lifecycle.tree().find("Deck")
        assert tree is not None
        assert [part.name for part in tree.children] == ["Scale", "left", "right"]
        assert await deck.scale.weigh() == 1.5
    assert order == ["left up", "right up", "weighs 1.5", "right down", "left down"]
    with pytest.raises(ValueError, match="the deck's"):
        await deck.setup(fail=True)
    assert [deck.scale.state, deck.left.state, deck.right.state] == ["closed"] * 3
    assert told.heard == ["@", "S", "S", "P", "@", "P"]


async def test_a_lifespan_may_be_a_context_manager(told: ScriptedInstrument) -> None:
    class Decorated(Balance):
        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link:
                yield
                self.ended.append(self.ending)
                await self.link.query("P")

    scale = Decorated(told.port)
    error = ZeroDivisionError("the body's")
    with pytest.raises(ZeroDivisionError):
        async with scale:
            raise error
    assert scale.ended == [error]
    assert told.heard == ["P"]


async def test_bad_lifespans_are_refused_in_words() -> None:
    class None_(lt.Instrument):
        pass

    class Plain(lt.Instrument):
        async def lifespan(self) -> None:
            return

    class Number(lt.Instrument):
        def lifespan(self) -> int:
            return 1

    class Empty(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            if self.name == "":
                yield

    class Twice(lt.Instrument):
        async def lifespan(self) -> AsyncIterator[None]:
            yield
            yield

    for kind, words in ((None_, "has no lifespan"), (Plain, "has no `yield`"), (Number, "is a int")):
        with pytest.raises(TypeError, match=words):
            await kind().setup()
    with pytest.raises(RuntimeError, match="ended without its `yield`"):
        await Empty().setup()
    with pytest.raises(RuntimeError, match="yielded twice"):
        async with Twice():
            pass
    with pytest.raises(TypeError, match="name"):
        Twice(name=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Twice())


async def test_it_cannot_be_stopped_from_inside_its_own_lifespan(told: ScriptedInstrument) -> None:
    class Suicidal(Balance):
        async def lifespan(self) -> AsyncIterator[None]:
            async with self.link:
                await self.stop()
                yield

    with pytest.raises(RuntimeError, match="cannot be stopped from inside its own lifespan"):
        await Suicidal(told.port).setup()


def test_without_a_loop_it_says_what_to_do() -> None:
    import labtether._core as core

    scale = Scale("/dev/nowhere")
    with pytest.raises(RuntimeError, match=r"Scale needs a running event loop .* `\.sync`"):
        core.block_on(scale.setup)
    assert scale.state == "closed"


async def test_its_repr_says_how_it_stands(told: ScriptedInstrument) -> None:
    scale = Scale(told.port)
    assert repr(scale) == "<Scale closed>"
    scale.name = "left"
    async with scale:
        assert repr(scale) == "<Scale left open for 0.0 s (balance open)>"


async def test_a_nursery_ends_with_an_instrument_that_ends_by_itself(told: ScriptedInstrument) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        async with lt.open_nursery("run") as nursery:
            await nursery.enter(Watchful(told.port))
            told.push("ALARM")
            await anyio.sleep_forever()
    assert "the alarm went off" in repr(raised.value)
    # The scope inside the lifespan was cancelled, and it was parked all the same.
    assert told.heard == ["P"]
