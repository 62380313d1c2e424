"""RFC 2217 servers in front of a pseudo-terminal: the real ser2net, and pyserial's; they share no code with ours."""

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import pytest
import serial
from serial.rfc2217 import PortManager

SER2NET = shutil.which("ser2net", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

needs_ser2net = pytest.mark.skipif(SER2NET is None, reason="ser2net is not installed: make debian-packages")

CONFIGURATION = """%YAML 1.1
---
connection: &instrument
    accepter: telnet(rfc2217),tcp,127.0.0.1,{number}
    connector: serialdev,{port},9600n81,local
"""


class Ser2net:
    """ser2net in front of `port`, for one client at a time."""

    def __init__(self, port: str, folder: Path) -> None:
        assert SER2NET is not None
        self.host = "127.0.0.1"
        with socket.create_server((self.host, 0)) as free:
            self.port: int = free.getsockname()[1]
        configuration = folder / "ser2net.yaml"
        configuration.write_text(CONFIGURATION.format(number=self.port, port=port))
        self._process = subprocess.Popen(
            [SER2NET, "-n", "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_listening(self, timeout: float = 10.0) -> None:
        """Block until it listens. Asked of the system: a connection to find out would be its one client."""
        wanted = f"0100007F:{self.port:04X}"
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            assert self._process.poll() is None, "ser2net has ended"
            for line in Path("/proc/net/tcp").read_text().splitlines():
                if line.split()[1:4:2] == [wanted, "0A"]:
                    return
            time.sleep(0.01)
        raise TimeoutError(f"ser2net does not listen on port {self.port}")

    def kill(self) -> None:
        """End it as a crash does. Twice is fine."""
        self._process.kill()
        self._process.wait(5.0)

    def __enter__(self) -> Self:
        try:
            self.wait_listening()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class LinedSerial(serial.Serial):  # type: ignore[misc]
    """A serial port with settings and modem lines, which a pseudo-terminal has not, and with some that it cannot do."""

    IMPOSSIBLE: ClassVar[set[int]] = {1_234_567}

    def __init__(self, port: str) -> None:
        self.theirs = dict.fromkeys(("cts", "dsr", "ri", "cd"), False)
        self.breaks: list[bool] = []
        self.purged: list[str] = []
        super().__init__(port, timeout=0)

    cts = property(lambda self: self.theirs["cts"])
    dsr = property(lambda self: self.theirs["dsr"])
    ri = property(lambda self: self.theirs["ri"])
    cd = property(lambda self: self.theirs["cd"])

    def _update_dtr_state(self) -> None: ...

    def _update_rts_state(self) -> None: ...

    def _update_break_state(self) -> None:
        self.breaks.append(self._break_state)

    def _reconfigure_port(self, force_update: bool = False) -> None:
        if self._baudrate in self.IMPOSSIBLE:
            raise ValueError("the hardware cannot do this speed")
        if self._parity in "MS":
            raise ValueError("the hardware has no such parity")
        # The rest is remembered, as a pseudo-terminal has no parity and no 7 bits.
        if not self.is_open:
            super()._reconfigure_port(force_update)

    def reset_input_buffer(self) -> None:
        self.purged.append("input")
        super().reset_input_buffer()

    def reset_output_buffer(self) -> None:
        self.purged.append("output")
        super().reset_output_buffer()


class PyserialServer:
    """pyserial's `PortManager` in front of `port`, on a thread of its own, as in its `rfc2217_server.py`."""

    def __init__(self, port: str) -> None:
        self.serial = LinedSerial(port)
        self.host = "127.0.0.1"
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._peer: socket.socket | None = None
        self._manager: Any = None
        self._bell, self._ring = os.pipe()
        self.clients = 0
        self._thread = threading.Thread(target=self._serve, name="test PyserialServer", daemon=True)

    def set_lines(self, **levels: bool) -> None:
        """Change what the instrument does with its lines; the client is told."""
        self.serial.theirs |= levels
        os.write(self._ring, b"m")

    def hang_up(self) -> None:
        """Close the connection."""
        os.write(self._ring, b"h")

    def write(self, data: bytes) -> None:
        """For the PortManager: to the client."""
        if self._peer is not None:
            with contextlib.suppress(ConnectionError):
                self._peer.sendall(data)

    def _serve(self) -> None:
        while True:
            watched: list[Any] = [self._bell, self._peer or self._listener]
            if self._peer is not None:
                watched.append(self.serial.fileno())
            ready = select.select(watched, [], [])[0]
            if self._bell in ready:
                for order in os.read(self._bell, 100):
                    if order == ord("e"):
                        self._gone()
                        return
                    if order == ord("h"):
                        self._gone()
                    elif self._manager is not None:
                        self._manager.check_modem_lines()
            elif self._peer is None:
                self._peer = self._listener.accept()[0]
                self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._manager = PortManager(self.serial, self)
                self.clients += 1
            elif self._peer in ready:
                try:
                    data = self._peer.recv(4096)
                except ConnectionError:
                    data = b""
                if data:
                    self.serial.write(b"".join(self._manager.filter(data)))
                else:
                    self._gone()
            else:
                self.write(b"".join(self._manager.escape(self.serial.read(4096))))

    def _gone(self) -> None:
        if self._peer is not None:
            self._peer.close()
        self._peer = self._manager = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        os.write(self._ring, b"e")
        self._thread.join(5.0)
        assert not self._thread.is_alive()
        self._listener.close()
        self.serial.close()
        os.close(self._bell)
        os.close(self._ring)
