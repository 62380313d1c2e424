"""Shakers: BigBear, many on one line with a hexadecimal address each, and the SPEX GenoGrinder."""

from support.devices.base import Device
from support.instrument import Reply
from support.lines import PtyInstrument


class BigBears(Device, PtyInstrument):
    """9600 8N1, CR. `@A?V1200` asks shaker 10 for its speed; `@A` is answered by that one alone, `?:` is an error.

    Shakers in `slow` keep their answers until `speak`.
    """

    def __init__(self, shakers: int = 16) -> None:
        super().__init__(self.answer, terminator=b"\r")
        self.rpm = dict.fromkeys(range(1, shakers + 1), 0)
        self.shaking: set[int] = set()
        self.slow: set[int] = set()
        self.kept: list[bytes] = []

    def answer(self, command: bytes) -> Reply:
        """What the chain says."""
        if command == b"~":
            return b"%d\r" % len(self.rpm)
        number = int(command[1:2], 16) if command[:1] == b"@" else 0
        if number not in self.rpm:
            return b"?:\r"
        reply = self.reply(number, command[2:])
        if reply is not None and number in self.slow:
            self.kept.append(reply + b"\r")
            return None
        return None if reply is None else reply + b"\r"

    def reply(self, number: int, body: bytes) -> bytes | None:
        """What shaker `number` says. Values are set without an answer, and asked for with `?`."""
        match body[:1]:
            case b"V":
                self.rpm[number] = int(body[1:])
                return None
            case b"?":
                return b"@%X V%d" % (number, self.rpm[number])
            case b"G":
                self.shaking.add(number)
                return None
            case b"S":
                self.shaking.discard(number)
                return None
            case b"Q":
                return b"@%X %s" % (number, b"SHAKING" if number in self.shaking else b"STOPPED")
        return b"?:"

    def speak(self) -> None:
        """The slow ones say what they had to say."""

        def spoke() -> None:
            self.slow.clear()
            while self.kept:
                self.send(self.kept.pop(0))

        self._order(spoke)


class GenoGrinder(Device, PtyInstrument):
    """9600 8N1, CR. `*03*` -> a progress line, and the completion line at `finish`; `*04*` runs; `*06*` stops.

    While it initializes or runs it answers `*01*` and `*06*`.
    """

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\r")
        self.doing = b"Standby"
        self.stops = 0

    def answer(self, command: bytes) -> Reply:
        """The grinder's side of the dialogue."""
        match command.strip(b"*").split(b","):
            case [b"01"]:
                return self.doing + b"\r"
            case [b"02", _, _]:
                return b"Parameters Set\r"
            case [b"03"]:
                self.doing = b"Initializing"
                return b"Initializing\r"
            case [b"04"]:
                self.doing = b"Mixing"
                return b"Running Sample\r"
            case [b"06"]:
                self.stops += 1
                self.doing = b"Standby"
                return b"Standby\r"
        return b"Fault\r"

    def finish(self, line: bytes) -> None:
        """It is done, and says `line`."""

        def finished() -> None:
            self.doing = b"Standby"
            self.send(line + b"\r")

        self._order(finished)
