"""The two kinds of line a test instrument can be on: a real pseudo-terminal, a real loopback socket."""

import contextlib
import os
import socket
import struct
import tty
from pathlib import Path

from support.instrument import Handler, Instrument, silent


class PtyInstrument(Instrument):
    """An instrument on a real pseudo-terminal. `port` is what a link opens.

    It holds the other side open too, as a cable does: links may come and go. `at` is a path (a symbolic link) that
    stays the same from `unplug` to `replug`; without it the port has a new name after `replug`.
    """

    def __init__(self, handler: Handler = silent, *, terminator: bytes = b"\n", at: Path | None = None) -> None:
        super().__init__(handler, terminator=terminator)
        self._at = at
        self._cable: int | None = None
        self._plug()

    @property
    def port(self) -> str:
        """The path to open."""
        return str(self._at) if self._at else self._name

    @property
    def url(self) -> str:
        """The same for `lt.link`."""
        return f"serial://{self.port}"

    def fill(self) -> int:
        """Stop reading, and fill the line with bytes that the instrument will not hear, so that not one more is taken.

        Returns how many it took.
        """
        self._order(self._fill)
        return self._skip

    def unplug(self) -> None:
        self._order(self._let_go)

    def replug(self) -> None:
        """Put the cable back; see `at`."""
        self._order(self._plug)

    def _plug(self) -> None:
        self._let_go()
        self._line, self._cable = os.openpty()
        tty.setraw(self._cable)
        os.set_blocking(self._line, False)
        self._name = os.ttyname(self._cable)
        if self._at:
            with contextlib.suppress(FileNotFoundError):
                self._at.unlink()
            self._at.symlink_to(self._name)

    def _fill(self) -> None:
        assert self._cable is not None, "unplugged"
        self._stalled = True
        os.set_blocking(self._cable, False)  # ours alone: who opens the port by its name is not concerned
        with contextlib.suppress(BlockingIOError):
            while True:
                self._skip += os.write(self._cable, bytes(4096))
        with contextlib.suppress(BlockingIOError):
            while True:
                self._skip += os.write(self._cable, bytes(1))

    def _let_go(self) -> None:
        if self._at:
            with contextlib.suppress(FileNotFoundError):
                self._at.unlink()
        for number in (self._line, self._cable):
            if number is not None:
                os.close(number)
        self._line = self._cable = None
        self._unread.clear()
        self._skip = 0


class TcpInstrument(Instrument):
    """An instrument on a real loopback socket. It talks to one link at a time: the newest."""

    def __init__(self, handler: Handler = silent, *, terminator: bytes = b"\n") -> None:
        super().__init__(handler, terminator=terminator)
        self.host = "127.0.0.1"
        self.port = 0
        self._server: socket.socket | None = None
        self._peer: socket.socket | None = None
        self._plug()

    @property
    def url(self) -> str:
        """What `lt.link` opens."""
        return f"tcp://{self.host}:{self.port}"

    def hang_up(self) -> None:
        """Close the connection in good order (the link reads an end of file), and listen for the next."""
        self._order(self._hung_up)

    def reset(self) -> None:
        """Break the connection off (the link gets a reset), and listen for the next."""
        self._order(self._reset)

    def unplug(self) -> None:
        self._order(self._let_go)

    def replug(self) -> None:
        """Listen again, at the same address."""
        self._order(self._plug)

    def _plug(self) -> None:
        self._let_go()
        self._server = socket.create_server((self.host, self.port), backlog=64)
        self._server.setblocking(False)
        self._listener = self._server.fileno()
        self.port = self._server.getsockname()[1]

    def _accept(self) -> None:
        assert self._server is not None
        try:
            peer, _ = self._server.accept()
        except (BlockingIOError, ConnectionError):
            return
        self._hung_up()
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peer, self._line = peer, peer.fileno()

    def _reset(self) -> None:
        assert self._peer is not None, "nobody is connected"
        self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._hung_up()

    def _hung_up(self) -> None:
        if self._peer is not None:
            self._peer.close()
        self._peer = self._line = None
        self._unread.clear()

    def _let_go(self) -> None:
        self._hung_up()
        if self._server is not None:
            self._server.close()
        self._server = self._listener = None
