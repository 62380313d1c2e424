"""HighRes Biosolutions' TCP controllers: `ACK! command id`, lines, then `OK!`, `ERROR!` or `ABORTED! command id`."""

from support.devices.base import Device
from support.instrument import Reply
from support.lines import TcpInstrument


class MicroSpin(Device, TcpInstrument):
    """A centrifuge. CR LF both ways. `spin` lasts until `stop_spinning`, or until `abort`, whose own answer follows.

    Each command has the next number.
    """

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\r\n")
        self.number = 0
        self.spinning: bytes | None = None
        """The spin that was not answered: `spin 500 7`."""
        self.finished = 0
        self.aborted = 0

    def answer(self, command: bytes) -> Reply:
        """The centrifuge's side of the dialogue."""
        self.number += 1
        told = b"%s %d" % (command, self.number)
        match command.split():
            case [b"spin", _] if self.spinning is None:
                self.spinning = told
                return b"ACK! " + told + b"\r\n"
            case [b"abort"]:
                return b"ACK! " + told + b"\r\n" + self.abort() + b"OK! " + told + b"\r\n"
            case [b"status"]:
                lines = b"Spindle Position: 1958\r\nDoor Position: 19242\r\n"
                return b"ACK! " + told + b"\r\n" + lines + b"OK! " + told + b"\r\n"
            case [b"home"]:
                return b"ACK! " + told + b"\r\nOK! " + told + b"\r\n"
        return b"ERROR! " + told + b"\r\n"

    def abort(self) -> bytes:
        """What is said of the spin that is cut short."""
        if self.spinning is None:
            return b""
        told, self.spinning = self.spinning, None
        self.aborted += 1
        return b"ABORTED! " + told + b"\r\n"

    def stop_spinning(self) -> None:
        """The spin is over as it should be."""

        def stopped() -> None:
            assert self.spinning is not None
            told, self.spinning = self.spinning, None
            self.finished += 1
            self.send(b"OK! " + told + b"\r\n")

        self._order(stopped)


class LidValet(Device, TcpInstrument):
    """A delidder. LF in, CR LF out; the terminating words stand alone. A nest is busy for so many more questions."""

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\n")
        self.busy = 0
        self.has_lid = False
        self.slow = False
        """Whether it acknowledges `unlid` and `lid`, and never says that they are done."""

    def answer(self, command: bytes) -> Reply:
        """The delidder's side of the dialogue."""
        ack = b"ACK! " + command + b"\r\n"
        match command.split():
            case [b"status", _]:
                return ack + (b"HAS_LID" if self.has_lid else b"OPEN") + b"\r\nOK!\r\n"
            case [b"unlid" | b"lid", _] if self.busy:
                self.busy -= 1
                return b"BUSY! " + command + b"\r\n"
            case [b"unlid", _] if self.has_lid:
                return ack + b"Error 12: suction cup is holding a lid\r\nERROR!\r\n"
            case [b"unlid" | b"lid", _]:
                self.has_lid = command.startswith(b"un")
                return ack if self.slow else ack + b"OK!\r\n"
        return b"ERROR! unknown command\r\n"
