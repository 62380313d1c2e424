"""Mettler Toledo WXS205SDU: 9600 8N1, CR LF. `S` waits until the pan is still; `settle` says that it is."""

from support.devices.base import Device
from support.instrument import Reply
from support.lines import PtyInstrument


class Balance(Device, PtyInstrument):
    """A balance whose pan never comes to rest before `settle`. See `busy` and `mute`."""

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\r\n")
        self.grams = 42.0
        self.busy = 0
        """So many of the next weighings are refused with `S I`: not executable at the moment."""
        self.mute = False
        self.waiting = 0
        """How many `S` have not been answered."""
        self.still = False

    def answer(self, command: bytes) -> Reply:
        """The balance's side of the dialogue."""
        if self.mute:
            return None
        match command:
            case b"S" | b"SI" if self.busy:
                self.busy -= 1
                return b"S I\r\n"
            case b"S" if not self.still:
                self.waiting += 1
                return None
            case b"S":
                return self.weight(b"S")
            case b"SI":
                return self.weight(b"D")
            case b"I4":
                return b'I4 A "B021002593"\r\n'
            case b"M21 0 0":
                return b"M21 A\r\n"
            case b"T" | b"TI" | b"TA":
                return b"%s S %13.5f g\r\n" % (command, self.grams)
            case b"Z" | b"ZI" | b"TAC" | b"DW":
                return command + b" A\r\n"
            case b"LONG":
                return b"x" * 5000  # a device gone mad: no end to it
        return b"ES\r\n"

    def weight(self, status: bytes) -> bytes:
        """`S S      42.00000 g`, or `S D` while it moves."""
        return b"S %s %13.5f g\r\n" % (status, self.grams)

    def settle(self, grams: float) -> None:
        """The pan comes to rest: every `S` that waits is answered now, and the next ones at once."""

        def settled() -> None:
            self.grams, self.still = grams, True
            while self.waiting:
                self.waiting -= 1
                self.send(self.weight(b"S"))

        self._order(settled)

    def move(self, grams: float) -> None:
        """Something is put on the pan: it moves again."""

        def moved() -> None:
            self.grams, self.still = grams, False

        self._order(moved)
