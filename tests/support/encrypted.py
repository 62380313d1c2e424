"""An instrument that speaks TLS, on Python's own `ssl`: it shares no code with ours."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["TlsInstrument", "answer_lines"]

Talk = Callable[[ssl.SSLSocket], object]


def answer_lines(line: ssl.SSLSocket) -> bytes:
    """Answers `S` to `<S>`, until nothing more comes. Returns all that was heard."""
    heard = unanswered = b""
    while piece := line.recv(1000):
        heard += piece
        unanswered += piece
        while b"\n" in unanswered:
            command, unanswered = unanswered.split(b"\n", 1)
            line.sendall(b"<" + command + b">\n")
    return heard


class TlsInstrument:
    """One connection after the other is encrypted and then `talk`ed to, on a thread; `ends` gets what came of each: the
    value of `talk`, or the error."""

    def __init__(self, context: ssl.SSLContext, talk: Talk = answer_lines) -> None:
        self.context = context
        self.talk = talk
        self.ends: queue.Queue[object] = queue.Queue()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self.listener.getsockname()
        self._thread = threading.Thread(target=self._serve, name="test-tls-instrument")

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                # A client that breaks its word fails its test, and does not hang it.
                peer.settimeout(20)
                try:
                    with self.context.wrap_socket(peer, server_side=True, suppress_ragged_eofs=False) as line:
                        self.ends.put(self.talk(line))
                except OSError as error:
                    self.ends.put(error)

    def end(self) -> object:
        """What came of the connection whose turn it is."""
        return self.ends.get(timeout=20)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing it does not wake who waits for a connection (Linux).
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
