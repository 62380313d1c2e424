"""Pumps: Cole-Parmer Masterflex and Agrow, which speaks Modbus RTU and stops when it is left alone."""

import struct
import time

from support.devices.base import NEVER, Device, Framed, taken
from support.instrument import Reply
from support.lines import PtyInstrument


class Masterflex(Device, PtyInstrument):
    """4800 7O1. `ENQ` -> `P?0`; STX P02 command CR -> ACK or NAK, one byte and no end; `I` -> the state, in CR."""

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\r")
        self.running: bytes | None = None
        self.halts = 0

    def answer(self, command: bytes) -> Reply:
        """The pump's side of the dialogue."""
        body = command.lstrip(b"\x05")
        if body[:4] != b"\x02P02":
            return b"\x15"
        match body[4:5]:
            case b"H":
                self.halts += 1
                self.running = None
                return b"\x06"
            case b"S" | b"V":
                self.running = body[4:]
                return b"\x06"
            case b"I":
                return b"\x02P02I%d\r" % (self.running is not None)
        return b"\x15"


def modbus_crc(data: bytes) -> bytes:
    """CRC-16/MODBUS: polynomial 0x8005 reflected, from 0xFFFF, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return struct.pack("<H", crc)


class Agrow(Framed, PtyInstrument):
    """Modbus RTU, unit 1. Registers are read (3) and written (6).

    `garbles`: so many of the next replies are damaged.
    """

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=NEVER)
        self.registers = {19: 0x5C5C, 101: 0, 102: 0}
        self.garbles = 0
        self.mute = False
        self.wrong = 0
        """Frames whose CRC was not right."""
        self.times: list[float] = []
        """When each frame came, on the clock of time.monotonic()."""

    def cut(self, buffer: bytearray) -> bytes | None:
        # Both functions it knows have commands of eight bytes.
        return taken(buffer, 8) if len(buffer) >= 8 else None

    def answer(self, frame: bytes) -> Reply:
        """The pump's side of the dialogue."""
        self.times.append(time.monotonic())
        if frame[-2:] != modbus_crc(frame[:-2]):
            self.wrong += 1
            return None
        if self.mute:
            return None
        unit, function, register, value = struct.unpack(">BBHH", frame[:-2])
        if register not in self.registers:
            body = bytes([unit, function | 0x80, 2])
        elif function == 6:
            self.registers[register] = value
            body = frame[:-2]
        else:
            words = [self.registers.get(register + at, 0) for at in range(value)]
            body = struct.pack(f">BBB{value}H", unit, function, 2 * value, *words)
        if self.garbles:
            self.garbles -= 1
            return body + bytes(byte ^ 0xFF for byte in modbus_crc(body))
        return body + modbus_crc(body)
