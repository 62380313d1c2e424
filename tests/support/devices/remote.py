"""A serial port behind RFC 2217: where breaks, parity and modem lines can be seen, which no pseudo-terminal shows."""

import struct
from typing import ClassVar

from support.devices.base import NEVER, Framed
from support.instrument import Handler
from support.lines import TcpInstrument

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
AGREED = (BINARY, SUPPRESS_GO_AHEAD, COM_PORT)

BAUDRATE, DATASIZE, PARITY, STOPSIZE, CONTROL, PURGE = 1, 2, 3, 4, 5, 12
BREAK_ON, BREAK_OFF, DTR_ON, DTR_OFF, RTS_ON, RTS_OFF = 5, 6, 8, 9, 11, 12
NOTIFY_MODEM_STATE = 107


class RemotePort(Framed, TcpInstrument):
    """A port server with an instrument at its serial side. It agrees to everything; `done` has what it was told.

    `instrument` answers the commands, which end in `ends`. `done`: ("baudrate", 9600), ("control", BREAK_ON), ("data",
    b"CR\\r") and so on, in order; a value of nothing, which only asks, is not in it.
    """

    NAMES: ClassVar = {
        BAUDRATE: "baudrate",
        DATASIZE: "datasize",
        PARITY: "parity",
        STOPSIZE: "stopsize",
        CONTROL: "control",
    }

    def __init__(self, instrument: Handler, ends: bytes) -> None:
        self._plain = bytearray()
        self._options: set[tuple[int, int]] = set()
        super().__init__(instrument, terminator=NEVER)
        self.ends = ends
        self.done: list[tuple[str, int | bytes]] = []
        self._values = {BAUDRATE: 9600, DATASIZE: 8, PARITY: 1, STOPSIZE: 1, CONTROL: 1}

    @property
    def url(self) -> str:
        """What `lt.link` opens."""
        return f"rfc2217://{self.host}:{self.port}"

    def told(self, name: str) -> list[int | bytes]:
        """What it was told under that name, in order."""
        return [value for kind, value in self.done if kind == name]

    def cut(self, buffer: bytearray) -> bytes | None:
        while (end := self._plain.find(self.ends)) < 0:
            if not self._step(buffer):
                return None
        command = bytes(self._plain[:end])
        del self._plain[: end + len(self.ends)]
        return command

    def _step(self, buffer: bytearray) -> bool:
        """Move one byte of data, or one telnet command, off the front. Returns whether there was one."""
        if not buffer:
            return False
        if buffer[0] != IAC or buffer[:2] == bytes([IAC, IAC]):
            self._plain.append(buffer[0])
            self.done.append(("data", bytes(buffer[:1])))
            del buffer[: 1 + (buffer[0] == IAC)]
            return True
        if len(buffer) < 3:
            return False
        if buffer[1] == SB:
            end = buffer.find(bytes([IAC, SE]))
            if end < 0:
                return False
            body = bytes(buffer[2:end]).replace(bytes([IAC, IAC]), bytes([IAC]))
            del buffer[: end + 2]
            if body[0] == COM_PORT and len(body) > 1:
                self._com_port(body[1], body[2:])
            return True
        word, option = buffer[1], buffer[2]
        del buffer[:3]
        self._negotiate(word, option)
        return True

    def _negotiate(self, word: int, option: int) -> None:
        if word in (DONT, WONT) or (word, option) in self._options:
            return
        self._options.add((word, option))
        wanted = option in AGREED
        answer = {WILL: DO if wanted else DONT, DO: WILL if wanted else WONT}.get(word)
        if answer is not None:
            self.send(bytes([IAC, answer, option]))

    def _com_port(self, command: int, value: bytes) -> None:
        name = self.NAMES.get(command)
        if name is None:
            self._say_of(command, value)
            return
        given = int.from_bytes(value, "big")
        asks = given == 0 or (command == CONTROL and given in (4, 7, 10, 13))
        if not asks:
            self.done.append((name, given))
            self._values[command] = given
        told = given if command == CONTROL else self._values[command]
        self._say_of(command, struct.pack(">I", told) if command == BAUDRATE else bytes([told]))

    def _say_of(self, command: int, value: bytes) -> None:
        escaped = value.replace(bytes([IAC]), bytes([IAC, IAC]))
        self.send(bytes([IAC, SB, COM_PORT, command + 100]) + escaped + bytes([IAC, SE]))

    def modem_state(self, state: int) -> None:
        """Tell how the lines are: CTS 16, DSR 32, RI 64, CD 128."""
        self._order(lambda: self._say_of(NOTIFY_MODEM_STATE - 100, bytes([state])))

    def _hung_up(self) -> None:
        super()._hung_up()
        self._plain.clear()
        self._options.clear()
