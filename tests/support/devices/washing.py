"""Washers: BioTek EL406 (framed, ACK first, completion later) and Curiox HT2000 (replies of fixed length)."""

import struct

from support.devices.base import NEVER, Framed, taken
from support.instrument import Reply
from support.lines import PtyInstrument

ACK, NAK = b"\x06", b"\x15"


def el406_frame(command: int, data: bytes = b"") -> bytes:
    """01 02, command u16, 01, reserved u16, length u16, checksum u16, data; all little-endian.

    The checksum is the two's complement of the sum of everything else.
    """
    head = struct.pack("<BBHBHH", 1, 2, command, 1, 0, len(data))
    return head + struct.pack("<H", -(sum(head) + sum(data)) & 0xFFFF) + data


class EL406(Framed, PtyInstrument):
    """38400 8N2. ACK for what is understood, NAK for what is not; then a frame with the answer.

    Actions (`ACTIONS`) are over when `finish` is called, or at an abort: the frame of the action, with status 1 for
    aborted, comes before the answer to the abort.
    """

    TEST, ABORT, RESET, QUERY = 0x73, 0x89, 0x70, 0xC1
    ACTIONS = (0x70, 0x8C)

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=NEVER)
        self.acting: int | None = None
        self.aborts = 0
        self.completed = 0
        self.serial = b"\x5c\x06\x15\x01\x02" * 60
        """The answer to a query: bytes that look like ACK, NAK and a header."""

    def cut(self, buffer: bytearray) -> bytes | None:
        if len(buffer) < 11 or len(buffer) < 11 + struct.unpack_from("<H", buffer, 7)[0]:
            return None
        return taken(buffer, 11 + struct.unpack_from("<H", buffer, 7)[0])

    def answer(self, frame: bytes) -> Reply:
        """The washer's side of the dialogue."""
        (command,) = struct.unpack_from("<H", frame, 2)
        if frame != el406_frame(command, frame[11:]):
            return NAK
        if command == self.ABORT:
            self.aborts += 1
            cut_short = b"" if self.acting is None else el406_frame(self.acting, b"\x01")
            self.acting = None
            return ACK + cut_short + el406_frame(self.ABORT, b"\x00")
        if self.acting is not None:
            return NAK
        if command in self.ACTIONS:
            self.acting = command
            return ACK
        if command == self.QUERY:
            return [(0.0, ACK), (0.002, el406_frame(command, self.serial))]
        return ACK + el406_frame(command) if command == self.TEST else NAK

    def finish(self) -> None:
        """The action is over as it should be."""

        def finished() -> None:
            assert self.acting is not None
            action, self.acting = self.acting, None
            self.completed += 1
            self.send(el406_frame(action, b"\x00"))

        self._order(finished)


PREAMBLE = b"\xff\xff\xff\xff\xff\x01"


def ht2000_frame(payload: bytes) -> bytes:
    """FF x 5, 01, length, payload, the sum of payload and length as u16 big-endian, FF."""
    return PREAMBLE + bytes([len(payload)]) + payload + struct.pack(">H", sum(payload) + len(payload)) + b"\xff"


class HT2000(Framed, PtyInstrument):
    """115200 8N1. Replies have no end: `0` is answered in 15 bytes, `4` in 42, everything else in 11."""

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=NEVER)
        self.tray_out = False
        self.loaded = True
        self.wrong = 0
        """Frames with a wrong checksum, which it does not answer."""

    def cut(self, buffer: bytearray) -> bytes | None:
        if len(buffer) < 7 or len(buffer) < 10 + buffer[6]:
            return None
        return taken(buffer, 10 + buffer[6])

    def answer(self, frame: bytes) -> Reply:
        """The washer's side of the dialogue."""
        payload = frame[7:-3]
        if frame != ht2000_frame(payload):
            self.wrong += 1
            return None
        if payload == b"211":
            self.tray_out = not self.tray_out
        match payload:
            case b"0":
                body, size = b"0000" + b"\\" * 2, 15
            case b"4":
                body, size = b"0000%d0%d" % (self.tray_out, self.loaded), 42
            case _:
                return (PREAMBLE + b"\x01" + b"0").ljust(11, b"\xff")
        # Bytes 8 and 9 are the mode and the status; from 10 on the error, the tray, the spill tray, the plate.
        return (PREAMBLE + bytes([size, 0x34]) + body).ljust(size, b"\xff")
