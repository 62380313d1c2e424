"""What the simulated devices share: frames that are no lines, and waiting for what a device does."""

import abc
import time
from collections.abc import Callable

import anyio

from support.instrument import Instrument

NEVER = b"no frame of any device here holds these words"
"""A terminator for devices whose commands are cut by `cut`."""


class Device(Instrument):
    """Manners of every device. What takes time on a real one lasts here until the test says that it is over."""

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = 5.0) -> None:
        """Wait until `condition` holds. It polls, as `until_heard` does: the loop is free, and it can be cancelled."""
        give_up = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < give_up, f"not within {timeout} s: {what}; heard {self.heard}"
            await anyio.sleep(0.002)


class Framed(Device):
    """A device whose commands have no terminator: made with `terminator=NEVER`, it cuts them itself."""

    @abc.abstractmethod
    def cut(self, buffer: bytearray) -> bytes | None:
        """Take the first whole command off the front of `buffer`; None: not yet."""

    def _read(self) -> None:
        super()._read()
        while (command := self.cut(self._unread)) is not None:
            self._hear(command)


def taken(buffer: bytearray, count: int) -> bytes:
    """The first `count` bytes of `buffer`, which loses them."""
    some = bytes(buffer[:count])
    del buffer[:count]
    return some
