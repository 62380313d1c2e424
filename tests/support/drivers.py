"""Small drivers for the simulated devices, as their users would write them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import labtether as lt

ENOUGH = 30.0
"""A time limit that no test reaches."""


class Driver:
    """Used as `async with Peeler.on(link) as peeler`."""

    def __init__(self, link: lt.Link[str]) -> None:
        self.link = link

    @classmethod
    @asynccontextmanager
    async def on(cls, link: lt.Link[str]) -> AsyncIterator[Self]:
        """The device behind `link`, made ready, and parked at the end."""
        async with link:
            driver = cls(link)
            await driver.ready()
            yield driver
            await driver.park()

    async def ready(self) -> None:
        """What it needs to be told first."""

    async def park(self) -> None:
        """What it needs to be told last."""


class Peeler(Driver):
    """Azenta XPeel."""

    async def ready(self) -> None:
        assert (await self.link.query("*stat")).startswith("*ready:")

    async def move(self, command: str) -> tuple[int, ...]:
        """The codes with which the motion ended."""
        async with self.link.exchange(timeout=ENOUGH) as talk:
            await talk.send(command)
            await talk.receive(match=r"^\*ack$", timeout=5)
            ready = await talk.receive(match=r"^\*ready:")
        return tuple(map(int, ready.removeprefix("*ready:").split(",")))

    async def tape(self) -> tuple[int, int]:
        """Peels left, and room for."""
        told, _ready = await self.link.query_all("*tapeleft", until=r"^\*ready:")
        left, room = lt.numbers(told)
        return round(10 * left), round(10 * room)


class Incubator(Driver):
    """Thermo Cytomat."""

    async def ready(self) -> None:
        await self.do("ll:in")

    async def do(self, command: str) -> int:
        """Do it, and wait until it is done: the overview register then."""
        await self.link.query(command, retries=100, retry_delay=0.02)
        overview: int = await self.link.wait_until(
            "ch:bs", lambda bits: not bits & 1, every=0.02, timeout=ENOUGH, parse=bits
        )
        if overview & 8:
            error = await self.link.query("ch:be")
            await self.link.query("rs:be")
            raise RuntimeError(f"{command}: {error}")
        return overview


def bits(reply: str) -> int:
    """`bs 08` -> 8."""
    return int(reply.removeprefix("bs "), 16)


class Arm(Driver):
    """Brooks PreciseFlex."""

    HALT = lt.Abort("halt", reply="^0$", timeout=ENOUGH)

    async def ready(self) -> None:
        for command in ("mode 0", "hp 1 20", "attach 1", "home"):
            await self.link.query(command, timeout=ENOUGH)

    async def park(self) -> None:
        await self.link.query("attach 0")
        await self.link.query("hp 0")
        await self.link.send("exit")

    async def where(self) -> list[float]:
        return (await self.link.query("wherej", parse=lt.numbers))[1:]

    async def move(self, *joints: float) -> None:
        """Returns when the arm stands still. Cancelled, it stands still too."""
        async with self.link.exchange(timeout=ENOUGH, abort=self.HALT) as talk:
            await talk.query("movej 1 " + " ".join(map(str, joints)))
            before: list[float] = []
            while (now := await talk.query("wherej", parse=lt.numbers)) != before:
                before = now
                await lt.sleep(0.02)


class HighRes(Driver):
    """HighRes MicroSpin and LidValet: the same manners."""

    ABORT = lt.Abort("abort", reply="^OK!", timeout=ENOUGH)

    async def ready(self) -> None:
        await self.do("home")

    async def do(self, command: str) -> list[str]:
        """What it says between its acknowledgement and its end."""
        ended = r"^(OK|ERROR|ABORTED)!"
        lines = await self.link.query_all(command, until=ended, timeout=ENOUGH, abort=self.ABORT)
        assert lines[0].startswith(f"ACK! {command}"), lines
        if not lines[-1].startswith("OK!"):
            raise RuntimeError(" / ".join(lines[1:]))
        return lines[1:-1]
