"""The part of a test instrument that has nothing to do with the kind of line: its thread, its manners, what it heard.

Python on purpose: an independent other end, which shares no code with what is tested.
"""

import abc
import heapq
import os
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import anyio

T = TypeVar("T")

Reply = bytes | None | Sequence[tuple[float, bytes]]
"""At once; not at all; or parts, each with its delay in seconds after the one before."""

Handler = Callable[[bytes], Reply]
"""Called on the instrument's thread with each command, without its terminator."""


def silent(_command: bytes) -> Reply:
    """A handler that never answers."""
    return None


def replies(table: Mapping[bytes, Reply]) -> Handler:
    """A handler that looks its replies up, and is silent about the rest."""
    return table.get


class _Order:
    """Something to be done on the instrument's thread."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.done = threading.Event()
        self.failure: Exception | None = None

    def carry_out(self) -> None:
        try:
            self.action()
        except Exception as error:
            self.failure = error
        self.done.set()


class Instrument(abc.ABC):
    """An instrument at the other end of a real line, on a thread of its own that ends with the `with` block.

    What it is told to do from outside (`stall`, `unplug`, ...) is done when the call returns.
    """

    def __init__(self, handler: Handler = silent, *, terminator: bytes = b"\n") -> None:
        self.handler = handler
        self.terminator = terminator
        self.heard: list[bytes] = []
        """Whole commands, in order, without terminators."""
        self.received = bytearray()
        """Every byte, as it came."""
        self.failure: BaseException | None = None
        """What a handler raised; raised again when the instrument is closed."""
        self._line: int | None = None  # the descriptor that carries bytes; touched by the thread only, once it runs
        self._listener: int | None = None
        self._stalled = False
        self._ended = False
        self._unread = bytearray()
        self._outgoing = bytearray()
        self._due: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._skip = 0
        self._news = threading.Condition()
        self._orders: list[_Order] = []
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._ring, False)
        self._thread = threading.Thread(target=self._serve, name=f"test {type(self).__name__}", daemon=True)

    # -- what a test says ----------------------------------------------------------------------------------------------

    def send(self, data: bytes, *, after: float = 0.0) -> None:
        """Say `data` unasked, `after` seconds from now."""
        self._order(lambda: self._say(data, time.monotonic() + after))

    def stall(self) -> None:
        """Stop reading, so that the line fills. What is to be said is still said."""
        self._order(lambda: setattr(self, "_stalled", True))

    def resume(self) -> None:
        """Read again."""
        self._order(lambda: setattr(self, "_stalled", False))

    @abc.abstractmethod
    def unplug(self) -> None:
        """Pull the cable: the line ends at the other end, and cannot be opened again."""

    def wait_heard(self, count: int = 1, timeout: float = 5.0) -> list[bytes]:
        """Block until `count` commands were heard in all; they are returned."""
        return self._wait(
            lambda: self.heard[:count] if len(self.heard) >= count else None, f"{count} commands", timeout
        )

    def wait_received(self, count: int, timeout: float = 5.0) -> bytes:
        """Block until `count` bytes were received in all; they are returned."""

        def enough() -> bytes | None:
            return bytes(self.received[:count]) if len(self.received) >= count else None

        return self._wait(enough, f"{count} bytes", timeout)

    async def until_heard(self, count: int = 1, timeout: float = 5.0) -> list[bytes]:
        """`wait_heard` that leaves the event loop free. It polls: no worker thread, and it can be cancelled."""
        give_up = time.monotonic() + timeout
        while len(self.heard) < count and time.monotonic() < give_up:
            await anyio.sleep(0.002)
        return self.wait_heard(count, 0)

    def close(self) -> None:
        """End the thread and give every descriptor back. Twice is fine."""
        if self._bell < 0:
            return
        if self._thread.ident is not None:
            self._order(lambda: setattr(self, "_ended", True))
            self._thread.join(5.0)
            assert not self._thread.is_alive(), f"{self._thread.name} does not end: is its handler stuck?"
        self._let_go()
        os.close(self._bell)
        os.close(self._ring)
        self._bell = self._ring = -1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()
        if self.failure is not None and error is None:
            raise AssertionError(f"the handler of {self._thread.name} failed") from self.failure

    def _wait(self, ready: Callable[[], T | None], what: str, timeout: float) -> T:
        with self._news:
            if not self._news.wait_for(lambda: ready() is not None, timeout):
                raise TimeoutError(f"{what} not heard within {timeout} s, but {self.heard} and {bytes(self._unread)!r}")
            found = ready()
            assert found is not None
            return found

    # -- for the kinds of line -----------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _let_go(self) -> None:
        """Close every descriptor of the line. Twice is fine."""

    def _accept(self) -> None:
        """Something waits at the listener."""
        raise NotImplementedError

    def _hung_up(self) -> None:
        """The other end closed the line."""
        self._line = None

    def _order(self, action: Callable[[], None]) -> None:
        """Have the thread do something, and wait until it is done."""
        if self._thread.ident is None or threading.current_thread() is self._thread:
            action()
            return
        order = _Order(action)
        with self._news:
            self._orders.append(order)
        os.write(self._ring, b"!")
        if not order.done.wait(5.0):
            raise TimeoutError(f"{self._thread.name} does not listen: is its handler stuck?")
        if order.failure is not None:
            raise order.failure

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._ended:
            for number, events in self._look().poll(self._patience()):
                if number == self._bell:
                    os.read(self._bell, 4096)
                elif number == self._listener:
                    self._accept()
                elif number == self._line and events & ~select.POLLOUT:
                    self._read()
            with self._news:
                orders, self._orders = self._orders, []
            if orders and self._listener is not None:
                self._accept()  # who has connected by now is there when the order is carried out
            for order in orders:
                order.carry_out()
            self._write()

    def _look(self) -> select.poll:
        look = select.poll()
        look.register(self._bell, select.POLLIN)
        if self._listener is not None:
            look.register(self._listener, select.POLLIN)
        wanted = (0 if self._stalled else select.POLLIN) | (select.POLLOUT if self._outgoing else 0)
        if self._line is not None and wanted:
            look.register(self._line, wanted)
        return look

    def _patience(self) -> float | None:
        return max(0.0, (self._due[0][0] - time.monotonic()) * 1000.0) if self._due else None

    def _read(self) -> None:
        assert self._line is not None
        try:
            data = os.read(self._line, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._unread.clear()
            self._hung_up()
            return
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        self._unread += data[dropped:]
        with self._news:
            self.received += data[dropped:]
            self._news.notify_all()
        while (end := self._unread.find(self.terminator)) >= 0:
            command = bytes(self._unread[:end])
            del self._unread[: end + len(self.terminator)]
            self._hear(command)

    def _hear(self, command: bytes) -> None:
        with self._news:
            self.heard.append(command)
            self._news.notify_all()
        try:
            reply = self.handler(command)
        except BaseException as error:  # of any kind: it belongs to the test, which is on another thread
            self.failure = error
            return
        at = time.monotonic()
        for delay, part in [(0.0, reply)] if isinstance(reply, bytes) else reply or ():
            at += delay
            self._say(part, at)

    def _say(self, data: bytes, at: float) -> None:
        self._count += 1  # keeps parts of the same moment in order
        heapq.heappush(self._due, (at, self._count, data))

    def _write(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            self._outgoing += heapq.heappop(self._due)[2]
        if self._line is None:
            self._outgoing.clear()  # said to nobody
        elif self._outgoing:
            try:
                del self._outgoing[: os.write(self._line, self._outgoing)]
            except BlockingIOError:
                pass
            except OSError:
                self._outgoing.clear()
