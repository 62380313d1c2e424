"""Robots on TCP: Brooks PreciseFlex, Agilent BenchCel, and Hamilton's STAR, which has many commands in flight."""

import struct

from support.devices.base import NEVER, Device, Framed, taken
from support.instrument import Reply
from support.lines import PtyInstrument, TcpInstrument


class PreciseFlex(Device, TcpInstrument):
    """LF in, CR LF out; replies are a code and words. A motion is over when `arrive` is called, or at `halt`.

    While it moves, `waitForEom` and everything after it wait for the end, but for `halt`: the motion then ends where it
    is, what waited is answered `-1000 halted` and `halt` itself with `0`, at once or when `let_halt_through` is called.
    """

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\n")
        self.moving = False
        self.travelled = 0
        """Motions that went all the way."""
        self.halts = 0
        self.holds_halt = False
        """Whether the answer to `halt` waits for `let_halt_through`."""
        self.deaf_to_halt = False
        """Whether `halt` is heard and not obeyed."""
        self._waiting: list[bytes] = []

    def answer(self, command: bytes) -> Reply:
        """The arm's side of the dialogue."""
        if command == b"halt":
            self.halts += 1
            if not self.holds_halt and not self.deaf_to_halt:
                self.halt()
            return None
        if self.moving:
            self._waiting.append(command)
            return None
        match command.split():
            case [b"mode" | b"hp" | b"attach" | b"freemode" | b"home", *_]:
                return b"0\r\n"
            case [b"movej", *_]:
                self.moving = True
                return b"0\r\n"
            case [b"waitForEom"]:
                return b"0\r\n"
            case [b"wherej"]:
                return b"0 113 81 218 64 70\r\n"
        return b"-1046 unknown command\r\n"

    def halt(self) -> None:
        """Stop, and answer what waits. On the arm's own thread."""
        self.moving = False
        for _ in self._waiting:
            self.send(b"-1000 halted\r\n")
        self._waiting.clear()
        self.send(b"0\r\n")

    def let_halt_through(self) -> None:
        """Obey the halt that was held."""
        self._order(self.halt)

    def arrive(self) -> None:
        """The motion is over."""

        def arrived() -> None:
            self.moving = False
            self.travelled += 1
            waiting, self._waiting = self._waiting, []
            for command in waiting:
                reply = self.answer(command)
                assert isinstance(reply, bytes)
                self.send(reply)

        self._order(arrived)


class BenchCel(Framed, TcpInstrument):
    """Frames both ways: id, length as u16 little-endian, payload. ACK is 0x69 with the command's id, an error 0x02.

    Its motors are homed by 0x47, which drops the connection; it listens again at once, and says busy (status byte 1)
    until `homed`.
    """

    ACK, ERROR, HOME_MOTORS, LOAD, STATUS = 0x69, 0x02, 0x47, 0x60, 0x87

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=NEVER)
        self.homing = False
        self.connections = 0
        self.plates: list[int] = []

    def cut(self, buffer: bytearray) -> bytes | None:
        if len(buffer) < 3 or len(buffer) < 3 + struct.unpack_from("<H", buffer, 1)[0]:
            return None
        return taken(buffer, 3 + struct.unpack_from("<H", buffer, 1)[0])

    def answer(self, command: bytes) -> Reply:
        """The stacker's side of the dialogue."""
        payload = command[3:]
        match command[0]:
            case self.STATUS:
                return self.frame(self.STATUS, bytes([self.homing, 0x5C, 0x69, 0x02, *bytes(62)]))
            case self.HOME_MOTORS:
                self.homing = True
                self._hung_up()
                return None
            case self.LOAD if len(payload) == 2 and payload[1] < 4:
                self.plates.append(payload[1])
                return self.frame(self.ACK, bytes([self.LOAD, payload[1]]))
        return self.frame(self.ERROR, b"Unknown command 0x%02x" % command[0])

    @staticmethod
    def frame(number: int, payload: bytes) -> bytes:
        """As on the wire."""
        return struct.pack("<BH", number, len(payload)) + payload

    def homed(self) -> None:
        """It is where it wants to be."""
        self._order(lambda: setattr(self, "homing", False))

    def _accept(self) -> None:
        before = self._peer
        super()._accept()
        self.connections += self._peer is not before


class Star(Device, PtyInstrument):
    """Commands `C0xxid####...`; many at once; each is answered when `answer_to` says so, in any order.

    (Hamilton's is on USB: the bytes are the same.)
    """

    def __init__(self) -> None:
        super().__init__(self.take, terminator=b"\r\n")
        self.open: dict[bytes, bytes] = {}
        """Commands that were not answered, by their id."""

    def take(self, command: bytes) -> Reply:
        """`C0RF` and `C0QM` are answered at once; the rest waits."""
        number = command[command.index(b"id") + 2 :][:4]
        if command[2:4] in (b"RF", b"QM"):
            return self.reply(command, number)
        self.open[number] = command
        return None

    @staticmethod
    def reply(command: bytes, number: bytes) -> bytes:
        """The command's own letters and id, no error, and what it was about, so that a test sees whose it is."""
        return command[:4] + b"id" + number + b"er00/00" + command[10:] + b"\r\n"

    def answer_to(self, *numbers: int) -> None:
        """Answer these, in this order, in one go."""

        def answered() -> None:
            for number in numbers:
                key = b"%04d" % number
                self.send(self.reply(self.open.pop(key), key))

        self._order(answered)
