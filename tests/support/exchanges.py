"""What the tests of exchanges share: a machine that moves until it is told to stop, and what an abort leaves behind."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

import labtether as lt
from support.instrument import Instrument, Reply
from support.lines import PtyInstrument, TcpInstrument

FAR = 20.0
"""A time limit that no test reaches: what ends sooner was not ended by it."""

BRIEF: dict[str, Any] = {"settle": 0.001, "drain": 0.02, "close_timeout": 0.5, "timeout": FAR}
"""Options of links whose instrument answers at once, so that getting back in step takes no time."""

ERROR = r"^ERR (?P<code>\d+) ?(?P<text>.*)"
"""What the machine says went wrong."""

HALTED = lt.Abort("HALT", reply="^halted", timeout=10)
"""The machine's own abort. Its time is a guard: what waits for it in vain ends unconfirmed."""


class Machine(Instrument):
    """Answers `ASK` at once with `re ASK`. `MOVE` is answered with `done` when `finish` is called, `ACK` with `ack` at
    once and `done` then; `NAG` says `ack` again at each `nag`. `HALT` is obeyed as `manner` says:

    "answers": what moves is not answered any more, HALT with `halted`. "fails": what moves is answered with an error,
    HALT is not. "both": both, in this order. "finishes": what moves is answered as if it had ended, HALT is not.
    "held": as "answers", when `let_through` is called. "slowly": as "answers", a moment later. "deaf": not at all.

    An address (`/2`) or an id (`#7 `) before a command is before its answers too.
    """

    def __init__(self, manner: str = "answers", **options: Any) -> None:
        super().__init__(self.answer, **options)
        self.manner = manner
        self.halts = 0
        self.moving: list[bytes] = []
        self._halting: list[bytes] = []

    def answer(self, command: bytes) -> Reply:
        """The machine's side of the dialogue."""
        found = re.match(rb"(#\w+ |/\w)?(\w*)", command)
        assert found is not None
        prefix, word = found[1] or b"", found[2]
        if word == b"ASK":
            return prefix + b"re " + command[len(prefix) :] + b"\n"
        if word in (b"MOVE", b"ACK"):
            self.moving.append(prefix)
            return prefix + b"ack\n" if word == b"ACK" else None
        if word == b"HALT":
            self.halts += 1
            return self._halt(prefix)
        return None

    def _halt(self, prefix: bytes) -> Reply:
        moving = list(self.moving)
        self.moving.clear()
        failed = b"".join(one + b"ERR 7 stopped\n" for one in moving)
        match self.manner:
            case "answers":
                return prefix + b"halted\n"
            case "slowly":
                return [(0.1, prefix + b"halted\n")]
            case "fails":
                return failed
            case "both":
                return failed + prefix + b"halted\n"
            case "finishes":
                return b"".join(one + b"done\n" for one in moving)
            case "held":
                self._halting.append(prefix)
        return None

    def let_through(self) -> None:
        """Obey the halts that were held."""
        self._say_of(self._halting, b"halted\n", forget=True)

    def finish(self) -> None:
        """What moves has arrived."""
        self._say_of(self.moving, b"done\n", forget=True)

    def nag(self) -> None:
        """Say that it is still moving."""
        self._say_of(self.moving, b"ack\n")

    def _say_of(self, prefixes: list[bytes], line: bytes, *, forget: bool = False) -> None:
        """On its own thread, behind whatever it is about to do with what it has heard."""

        def say() -> None:
            self.send(b"".join(prefix + line for prefix in prefixes))
            if forget:
                prefixes.clear()

        self._order(say)

    async def until(self, condition: Callable[[], object], what: str = "what was waited for") -> None:
        """Wait until `condition` holds; the loop is free, and it can be cancelled."""
        await until(condition, lambda: f"{what}; heard {self.heard}")


class PtyMachine(Machine, PtyInstrument):
    """On a pseudo-terminal."""

    def __init__(self, manner: str = "answers", at: Path | None = None) -> None:
        super().__init__(manner, at=at)


class TcpMachine(Machine, TcpInstrument):
    """On a socket."""


async def until(condition: Callable[[], object], told: Callable[[], object] = lambda: "", limit: float = 30.0) -> None:
    """Wait for something that has no event of its own: a guard against hanging, not a measurement."""
    give_up = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < give_up, f"it did not come to pass: {told()}"
        await anyio.sleep(0.001)


def until_sync(condition: Callable[[], object], limit: float = 30.0) -> None:
    """The same in a thread without a loop."""
    give_up = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.001)


def traced(link: lt.Link[Any], direction: str) -> bytes:
    """What the link has written (">"), or heard ("<")."""
    return b"".join(event.data for event in link.trace() if event.direction == direction)


def notes(error: BaseException | None) -> list[str]:
    """What its notes say about work that was cut short."""
    return [note for note in getattr(error, "__notes__", []) if note.startswith("labtether: ")]


def effects_in(error: BaseException | None) -> list[str]:
    """The effects that its notes tell of."""
    return [found[1] for note in notes(error) if (found := re.search(r": (\w+)$", note))]


async def in_step(link: lt.Link[str], times: int = 2) -> None:
    """The next questions get their own answers."""
    for number in range(times):
        assert await link.query(f"ASK {number}") == f"re ASK {number}"
