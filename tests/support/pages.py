"""What the tests of displays share: a strict reader of HTML, and one of everything that can be shown."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any

import labtether as lt
from support.nurseries import Oops, fail, forever, settled, value_of

EVIL = "<script>alert('x')</script>&\"\x1b[2J"
"""What a device, a task or a user might be called, or say."""

_EMPTY = {"img", "br", "hr"}


class Page(HTMLParser):
    """A page, read strictly: every tag is closed in its order, and attributes are quoted."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.text = ""
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"never closed: {self._open} in {source}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing in {self.source}"
        assert self._open.pop() == tag, f"</{tag}> closes something else in {self.source}"

    def handle_data(self, data: str) -> None:
        self.text += data


def bundle(thing: Any) -> dict[str, Any]:
    """Its forms, as a notebook asks for them."""
    forms: dict[str, Any] = thing._repr_mimebundle_()
    return forms


def page(thing: Any) -> Page:
    """Its HTML, read."""
    return Page(bundle(thing)["text/html"])


@asynccontextmanager
async def gallery(name: str = "") -> AsyncIterator[dict[str, Any]]:
    """One of everything that can be shown, alive, by what it is; `name` is in the name of each."""
    name = f" {name}" if name else ""
    lock, slots, semaphore = (
        lt.Lock(f"deck{name}"),
        lt.Slots(["A1", "A2"], f"shelf{name}"),
        lt.Semaphore(2, f"two{name}"),
    )
    event, channel, set_event = lt.Event(f"door{name}"), lt.Channel[int](4, f"plates{name}"), lt.Event(f"lamp{name}")
    set_event.set()

    async def hold() -> None:
        with lt.situation(f"moving plate 3{name}"):
            async with lock, slots.take("A1"), semaphore:
                await forever()

    async def wait() -> None:
        async with lock:
            await forever()

    async with lt.link("sim://balance", name=f"scale{name}") as scale, lt.open_nursery(f"run 7{name}") as nursery:
        await scale.query("S")
        await scale.query("I4")
        await nursery.enter(lt.link("sim://balance", name=f"second{name}"))
        reader = await nursery.enter(PlateReader(name))
        running = nursery.start_soon(hold, name=f"arm{name}")
        await settled()
        nursery.start_soon(wait, name=f"gripper{name}")
        await channel.send(1)
        done = nursery.start_soon(value_of, f"42.0 g{name}", name=f"weigh{name}")
        gone = nursery.start_soon(forever, name=f"stir{name}")
        await settled()
        gone.cancel(f"enough{name}")
        await gone.outcome()
        cut = lt.Cancelled(f"operator{name}", ((f"scale{name}", b"MOVE \x00\r\n", "halted"),), elapsed=3.2)
        await settled()
        yield {
            "link": scale,
            "link.sync": scale.sync,
            "closed link": lt.serial("/dev/ttyUSB0", name=f"oven{name}"),
            "trace": scale.trace(),
            "nursery": nursery,
            "handle": running,
            "ended handle": done,
            "cancelled handle": gone,
            "handle.sync": running.sync,
            "Ok": lt.Ok(f"42.0{name}", elapsed=0.3),
            "Failed": lt.Failed(await failure(name), elapsed=61.0),
            "Cancelled": cut,
            "lock": lock,
            "lock.sync": lock.sync,
            "slots": slots,
            "semaphore": semaphore,
            "event": event,
            "set event": set_event,
            "event.sync": event.sync,
            "channel": channel,
            "channel.sync": channel.sync,
            "instrument": reader,
            "instrument.sync": reader.sync,
            "unready instrument": await unready(name),
            "lifecycle": lt.lifecycle,
            "tree": nursery.tree(),
        }
        nursery.cancel()


async def failure(name: str) -> BaseException:
    """Several errors in one, with notes."""
    try:
        async with lt.open_nursery(f"doomed{name}") as nursery:
            nursery.start_soon(fail, f"the lid is open{name}", name=f"lid{name}")
    except ExceptionGroup as error:
        error.add_note(f"seen by {name or 'nobody'}")
        return error
    raise Oops("the nursery did not fail")


class PlateReader(lt.Instrument):
    """Says what it does; or cannot be set up."""

    def __init__(self, name: str, problem: str | None = None) -> None:
        super().__init__(f"reader{name}")
        self.link = lt.link("sim://balance", name=f"lamp{name}")
        self.doing = f"reading plate 3{name}"
        self.problem = problem

    async def lifespan(self) -> AsyncIterator[None]:
        if self.problem is not None:
            raise Oops(self.problem)
        async with self.link:
            await self.link.query("S")
            with lt.situation(self.doing):
                yield


async def unready(name: str) -> PlateReader:
    """One that could not be set up."""
    broken = PlateReader(name, f"the lamp is cold{name}")
    try:
        await broken.setup()
    except Oops:
        return broken
    raise Oops("it was set up all the same")
