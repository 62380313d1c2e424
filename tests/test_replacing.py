"""Two on one port: the one that is idle makes room for the next, with its parking, where that is allowed."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import labtether as lt
from labtether.testing import ScriptedInstrument, script
from support.balances import told
from support.scales import Scale

__all__ = ["told"]


async def test_an_idle_one_on_the_same_port_is_replaced_if_that_is_allowed(
    told: ScriptedInstrument, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    alias = tmp_path / "alias"
    alias.symlink_to(told.port)
    first = await Scale(told.port).setup()
    for port in (told.port, str(alias)):
        second = Scale(port)
        with pytest.raises(lt.LinkBusy, match="has the port"):
            await second.setup()
        with pytest.raises(lt.LinkBusy, match="has the port"):
            await second.setup(replace=False)
        await second.setup(replace=True)
        assert [first.state, second.state] == ["closed", "open"]
        first = second
    assert told.heard == ["@", "P", "@", "P", "@"]
    assert caplog.text.count("and is stopped for balance") == 2
    async with anyio.create_task_group() as group:
        group.start_soon(first.never)
        while "HANG" not in told.heard:
            await anyio.sleep(0.001)
        with pytest.raises(lt.LinkBusy, match="has the port"):
            await Scale(told.port).setup(replace=True)
        group.cancel_scope.cancel()
    await first.stop()


async def test_one_that_holds_the_only_connection_is_replaced_too() -> None:
    with script("net", framing="\r\n", transport="tcp") as told:
        told.when("@").reply("ready")
        told.when("P").reply("parked")

        class Net(lt.Instrument):
            def __init__(self) -> None:
                self.link = lt.link(told.url, framing="\r\n")

            async def lifespan(self) -> AsyncIterator[None]:
                async with self.link:
                    await self.link.query("@")
                    yield
                    await self.link.query("P")

        first, second = Net(), Net()
        await first.setup()
        await second.setup(replace=True)
        assert [first.state, second.state] == ["closed", "open"]
        await second.stop()
        assert told.heard == ["@", "P", "@", "P"]


async def test_a_whole_is_replaced_with_its_parts_and_never_for_a_part_of_itself(told: ScriptedInstrument) -> None:
    class Deck(lt.Instrument):
        def __init__(self, parts: int) -> None:
            self.parts = [Scale(told.port) for _ in range(parts)]

        async def lifespan(self) -> AsyncIterator[None]:
            for part in self.parts:
                await part.setup(replace=True)
            yield

    deck = await Deck(1).setup()
    scale = await Scale(told.port).setup(replace=True)
    assert [deck.state, deck.parts[0].state, scale.state] == ["closed", "closed", "open"]
    await scale.stop()
    with pytest.raises(lt.LinkBusy):
        await Deck(2).setup()
    assert lt.lifecycle.tree().find("Deck") is None
