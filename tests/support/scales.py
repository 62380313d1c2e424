"""A balance on a real pseudo-terminal, and the instrument that its user would write for it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import labtether as lt
from labtether.testing import ScriptedInstrument, script

PARKED = "P"
LAST_WORDS = "RUST"


class Balance(lt.Instrument):
    """One whose lifespan is still to be written. Where Python cannot park it, Rust says "RUST"."""

    def __init__(self, port: str, **options: Any) -> None:
        self.link = lt.serial(port, 9600, framing="\r\n", name="balance", park=LAST_WORDS, timeout=30.0, **options)
        self.ended: list[BaseException | None] = []

    async def weigh(self) -> float:
        return await self.link.query("S", parse=lt.number)

    async def never(self) -> str:
        """Waits for what never comes; stopped with "HALT"."""
        return await self.link.query("HANG", abort=lt.Abort("HALT", reply="^halted$"))

    async def numbers(self, count: int) -> AsyncIterator[float]:
        for _ in range(count):
            yield await self.weigh()


class Scale(Balance):
    """Readied with "@", parked with "P"."""

    async def lifespan(self, hello: str = "@") -> AsyncIterator[None]:
        async with self.link:
            await self.link.query(hello)
            yield
            self.ended.append(self.ending)
            await self.link.query(PARKED)


class Watchful(Balance):
    """Ends by itself, when it hears ALARM."""

    async def lifespan(self) -> AsyncIterator[None]:
        async with self.link, lt.open_nursery("watch") as nursery:
            nursery.start_soon(self._watch)
            yield
            await self.link.query(PARKED)

    async def _watch(self) -> None:
        await self.link.receive(match="ALARM", timeout=30)
        raise ValueError("the alarm went off")


@contextmanager
def balance(name: str = "balance") -> Iterator[ScriptedInstrument]:
    """The simulated one."""
    with script(name, framing="\r\n") as told:
        told.when("@").reply("ready")
        told.when("S").reply("S S 1.5 g")
        told.when("HANG").silence()
        told.when("HALT").reply("halted")
        told.when(PARKED).reply("parked")
        told.when(LAST_WORDS)
        yield told
