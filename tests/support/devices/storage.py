"""Incubators: Thermo Cytomat C6000, the PLC of Liconic and Heraeus, and the Inheco incubator-shaker."""

from support.devices.base import NEVER, Device, Framed, taken
from support.instrument import Reply
from support.lines import PtyInstrument


class Cytomat(Device, PtyInstrument):
    """9600 8N1. Commands end in CR LF, replies in CR, or in CR LF (`ends`): both have been seen.

    `ll:in` -> `ok 01`, and `ch:bs` tells the busy bit until `finish`. Anything else meanwhile is `er 01`.
    """

    def __init__(self, ends: bytes = b"\r") -> None:
        super().__init__(self.answer, terminator=b"\r\n")
        self.ends = ends
        self.busy = False
        self.refuses = 0
        """So many of the next commands are refused as busy."""
        self.error = 0
        """What is wrong with it, until `rs:be`."""
        self.gate_open = False

    def answer(self, command: bytes) -> Reply:
        """The incubator's side of the dialogue."""
        return self.reply(command) + self.ends

    def reply(self, command: bytes) -> bytes:
        """Without its end."""
        match command:
            case b"ch:bs":
                return b"bs %02d" % self.busy
            case b"ch:be":
                return b"be %02d" % self.error
            case b"rs:be":
                self.error = 0
                return b"ok 00"
            case _ if self.refuses:
                self.refuses -= 1
                return b"er 01"
            case _ if self.busy:
                return b"er 01"
            case _ if self.error:
                return b"er %02d" % self.error
            case b"ll:in":
                self.busy = True
                return b"ok 01"
            case b"ll:gp 001" | b"ll:gp 002":
                self.gate_open = command == b"ll:gp 002"
                return b"ok 02"
        return b"er 03"

    def finish(self) -> None:
        """It is busy no more."""
        self._order(lambda: setattr(self, "busy", False))

    def fail(self, error: int) -> None:
        """Something went wrong."""
        self._order(lambda: setattr(self, "error", error))


class Plc:
    """The controller of Liconic and Heraeus stores. CR in, CR LF out: `CR` -> `CC`, `ST n` -> `OK`, `RD n` -> `1`."""

    def __init__(self) -> None:
        self.ready = False
        self.awake = True
        """Whether it answers at all: after power-on it does so from the first break on."""

    def answer(self, command: bytes) -> Reply:
        """The controller's side of the dialogue."""
        if not self.awake:
            return None
        match command.split():
            case [b"CR"]:
                return b"CC\r\n"
            case [b"ST" | b"RS", _]:
                return b"OK\r\n"
            case [b"RD", b"1915"]:
                return b"%d\r\n" % self.ready
            case [b"RD", _]:
                return b"0\r\n"
        return b"E1\r\n"


class Heraeus(Device, PtyInstrument):
    """The controller on a serial line: 9600 8E1, RTS/CTS."""

    def __init__(self) -> None:
        self.plc = Plc()
        super().__init__(self.plc.answer, terminator=b"\r")

    def wake_up(self) -> None:
        """It answers from now on; what was asked before has been heard, and is not answered."""
        self._order(lambda: setattr(self.plc, "awake", True))

    def become_ready(self) -> None:
        """It says so when it is asked."""
        self._order(lambda: setattr(self.plc, "ready", True))


def crc8(data: bytes) -> int:
    """Inheco's: polynomial 0x31 reflected, from 0xA1."""
    crc = 0xA1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


class Inheco(Framed, PtyInstrument):
    """19200 8N1. Commands: length (of what follows), address, 0xC0 + length of the text, text, CRC-8.

    Replies: 0xB0 + address, text in blocks that each begin with that byte, and the tail: 0xB0 + address, 0x20 + error,
    0x60. `heard` has the texts. A command with a wrong CRC is answered with error 4, protocol.
    """

    def __init__(self, dip: int = 2) -> None:
        super().__init__(self.answer, terminator=NEVER)
        self.header = bytes([0xB0 + dip])
        self.address = 0x30 + dip
        self.texts = {"RTS": b"2", "RFV0": b"\\V1.2\\", "RAT1": b"370", "AID": b""}
        self.errors = {"ASE1": 8}
        self.wrong: list[bytes] = []
        """Frames that could not be a command of this device."""

    def cut(self, buffer: bytearray) -> bytes | None:
        if not buffer or len(buffer) < buffer[0] + 1:
            return None
        frame = taken(buffer, buffer[0] + 1)
        right = len(frame) > 4 and frame[1] == self.address and frame[2] == 0xC0 + len(frame) - 4
        if not right or crc8(frame[:-1]) != frame[-1]:
            self.wrong.append(frame)
            return b""
        return frame[3:-1]

    def answer(self, command: bytes) -> Reply:
        """The incubator's side of the dialogue."""
        name = command[3:].decode("latin-1")
        error = 4 if not command else self.errors.get(name, 0 if name in self.texts else 2)
        text = b"" if error else self.texts[name]
        blocks = b"".join(self.header + text[at : at + 4] for at in range(0, len(text), 4)) or self.header
        return blocks + self.header + bytes([0x20 + error, 0x60])
