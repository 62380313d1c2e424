"""Sealers and a peeler: Azenta XPeel, Azenta A4S, KBiosystems Ultraseal. What they do ends when the test says so."""

from support.devices.base import Device
from support.instrument import Reply
from support.lines import PtyInstrument


class XPeel(Device, PtyInstrument):
    """9600 8N1, CR LF. `*xpeel:42` -> `*ack`, and `*ready:e1,e2,e3` at the end. A second command meanwhile is lost."""

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"\r\n")
        self.peeling = False
        self.nags = False
        """Whether it says `*ack` again and again instead of once."""

    def answer(self, command: bytes) -> Reply:
        """The peeler's side of the dialogue."""
        if self.peeling:
            return None
        match command.partition(b":")[0]:
            case b"*stat":
                return b"*ready:00,00,00\r\n"
            case b"*tapeleft":
                return b"*tape:22,10\r\n"
            case b"*xpeel" | b"*moveout" | b"*movein":
                self.peeling = True
                return [(0.01, b"*ack\r\n")] * 1000 if self.nags else b"*ack\r\n"
        return b"*ready:01,00,00\r\n"

    def finish(self, *codes: int) -> None:
        """It is done; the codes say how: 4 is `seal not removed`."""

        def finished() -> None:
            self.peeling = False
            self._due.clear()
            three = [*codes, 0, 0, 0][:3]
            self.send(b"*ready:" + b",".join(b"%02d" % code for code in three) + b"\r\n")

        self._order(finished)


class A4S(Device, PtyInstrument):
    """19200 8N1, CR. It tells its status all the time, asked or not, and answers commands with `*Y01..!` in between.

    The status: `*T00=temperature,system,heater,error,warning,sensors,remaining..!`; here it is told by `tick`, and
    right before and after every answer.
    """

    IDLE, SINGLE_CYCLE, ERROR, FINISH = 0, 1, 3, 4

    def __init__(self) -> None:
        super().__init__(self.answer, terminator=b"!")
        self.celsius = 25.0
        self.system = self.IDLE
        self.error = 0

    def answer(self, command: bytes) -> Reply:
        """The sealer's side of the dialogue."""
        before = self.status()
        match command:
            case b"*00SR=zz":
                self.system, self.error = self.IDLE, 0
            case b"*00GS=zz":
                self.system = self.SINGLE_CYCLE
            case _ if command.startswith(b"*00DH="):
                self.celsius = float(command[6:10])
            case _ if not command.startswith((b"*00DT=", b"*00M")):
                return before + b"*N01" + command[3:5] + b"!\r" + self.status()
        return before + b"*Y01" + command[3:5] + b"!\r" + self.status()

    def status(self) -> bytes:
        """One line of the stream."""
        values = (round(self.celsius * 10), self.system, 1, self.error, 0, 2, 30)
        return b"*T00=" + b",".join(b"%d" % value for value in values) + b"zz!\r"

    def tick(self) -> None:
        """The next line of the stream."""
        self._order(lambda: self.send(self.status()))

    def become(self, system: int, error: int = 0) -> None:
        """Change state, and say so in the stream."""

        def became() -> None:
            self.system, self.error = system, error
            self.send(self.status())

        self._order(became)


class Ultraseal(Device, PtyInstrument):
    """9600 8N1, CR. It repeats the command, and the reply follows in the same line: `A160` -> `A160ok`.

    `echo`: "command" is what it does; "all" repeats the CR too, as a terminal does; "line" gives a line to the echo.
    """

    def __init__(self, echo: str = "command") -> None:
        super().__init__(self.answer, terminator=b"\r")
        self.echo = echo
        self.setpoint = 100
        self.mute = False

    def answer(self, command: bytes) -> Reply:
        """The sealer's side of the dialogue. In parts: the echo comes while the command is still being worked on."""
        if self.mute:
            return None
        between = {"command": b"", "all": b"\r", "line": b"\r"}[self.echo]
        return [(0.0, command + between), (0.001, self.reply(command) + b"\r")]

    def reply(self, command: bytes) -> bytes:
        """Without the echo."""
        match command[:1]:
            case b"A":
                self.setpoint = int(command[1:])
                return b"ok"
            case b"C":
                return b"%03d" % self.setpoint
            case b"?":
                return b"3f"
            case b"E":
                return b"0"
        return b"syntax"
