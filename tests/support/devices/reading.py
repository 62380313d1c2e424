"""Readers: BioTek plate readers, Molecular Devices' SpectraMax, and a Keyence barcode reader."""

from support.devices.base import NEVER, Device, Framed, taken
from support.instrument import Reply
from support.lines import PtyInstrument


class BioTek(Framed, PtyInstrument):
    """9600 8N2. One letter is a command; some are answered with ACK and want a parameter, which ends in ETX.

    Replies end in ETX: ACK, text, ETX. `D` (what to read) ends in the decimal sum of its digits modulo 100. `O` reads:
    it is answered at once, and the data follow when `finish` says so, or never, after `x`.
    """

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=NEVER)
        self.waits_for: bytes | None = None
        """The command whose parameter comes next."""
        self.reading = False
        self.aborts = 0
        self.wrong: list[bytes] = []
        """Parameters with a wrong checksum."""

    def cut(self, buffer: bytearray) -> bytes | None:
        if self.waits_for is None:
            return taken(buffer, 1) if buffer else None
        end = buffer.find(b"\x03")
        return None if end < 0 else taken(buffer, end + 1)

    def answer(self, command: bytes) -> Reply:
        """The reader's side of the dialogue."""
        if self.waits_for is not None:
            asked, self.waits_for = self.waits_for, None
            digits = command[:-3]
            if asked == b"D" and command[-3:-1] != b"%02d" % (sum(digits) % 100):
                self.wrong.append(command)
                return b"\x060102\x03"
            return b"\x060000\x03"
        match command:
            case b"x":
                self.aborts += 1
                self.reading = False
                return b"\x060000\x03"
            case _ if self.reading:
                return None
            case b"D" | b"y" | b"g":
                self.waits_for = command
                return b"\x06"
            case b"e":
                return b"\x06BioTek 1234 rev 2.09 (c)\x03"
            case b"h":
                return b"\x062350000\x03"
            case b"O":
                self.reading = True
                return b"\x060000\x03"
        return b"\x060100\x03"

    def finish(self) -> None:
        """The plate is read."""

        def finished() -> None:
            self.reading = False
            self.send(b"01,01, 0.123\r\n,01,02, 0.456\r\n\x03")

        self._order(finished)


class SpectraMax(Device, PtyInstrument):
    """9600 8N1, CR in. A reply has as many `>` as the command has parts: `OK>`, and `!STATUS` -> `OK>IDLE>`."""

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\r")
        self.busy = False

    def answer(self, command: bytes) -> Reply:
        """The reader's side of the dialogue; in parts that end nowhere in particular."""
        match command.split():
            case [b"!STATUS"]:
                return [(0.0, b"OK\t0>\r\n"), (0.002, b"BUSY>\r\n" if self.busy else b"IDLE>\r\n")]
            case [b"!READ"]:
                self.busy = True
                return b"OK\t0>\r\n"
            case [b"!TRANSFER"]:
                return [(0.0, b"OK>\r\n1.0"), (0.001, b"\t2.0>\r\n3.0\t"), (0.001, b"4.0>\r\n")]
            case [b"!NVRAM" | b"!CLEAR" | b"!MODE", *_]:
                return b"OK\t0>\r\n"
        return b"ERROR\t105>\r\n"

    def finish(self) -> None:
        """The reading is over."""
        self._order(lambda: setattr(self, "busy", False))


class Keyence(Device, PtyInstrument):
    """9600 7E1, CR. `LON` -> a barcode, `ERROR` if there is none; and one more for each press of its button."""

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\r")
        self.barcode = b"ABC-0001"

    def answer(self, command: bytes) -> Reply:
        """The reader's side of the dialogue."""
        match command:
            case b"LON":
                return (self.barcode or b"ERROR") + b"\r"
            case b"KEYENCE":
                return b"OK,KEYENCE,BL-1300\r"
        return None

    def press(self, barcode: bytes, *, after: float = 0.0) -> None:
        """A barcode that nobody asked for."""
        self.send(barcode + b"\r", after=after)
