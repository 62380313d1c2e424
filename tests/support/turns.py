"""Counting what an event loop does, to show that an await did not spin it."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class LoopCounter:
    """Counts the turns of the running loop inside a `with` block, and the processor time of the loop's thread.

    `turns` is None on uvloop, which has no place to count them; there only the processor time tells. It is used from
    the loop's own thread: `with LoopCounter() as loop: await ...`, then `loop.assert_calm()`.
    """

    def __init__(self) -> None:
        self.turns: int | None = None
        self.cpu = 0.0
        """Seconds of processor time of this thread, from the start of the block to its end."""
        self._uninstall: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._count_trio()
        else:
            if isinstance(loop, asyncio.BaseEventLoop):
                self._count_asyncio(loop)
        self._start = time.thread_time()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.cpu = time.thread_time() - self._start
        if self._uninstall is not None:
            self._uninstall()

    def assert_calm(self, turns: int = 50, cpu: float = 0.1) -> None:
        """Fail if the loop turned more often than `turns`, or its thread used more than `cpu` seconds."""
        assert self.turns is None or self.turns <= turns, f"the loop turned {self.turns} times, more than {turns}"
        assert self.cpu <= cpu, f"the loop's thread used {self.cpu:.3f} s of processor time, more than {cpu}"

    def _turned(self) -> None:
        self.turns = (self.turns or 0) + 1

    def _count_asyncio(self, loop: asyncio.BaseEventLoop) -> None:
        self.turns = 0
        turn: Callable[[], None] = getattr(loop, "_run_once")  # noqa: B009 -- there is no public place to count

        def counted() -> None:
            self._turned()
            turn()

        setattr(loop, "_run_once", counted)  # noqa: B010
        self._uninstall = lambda: delattr(loop, "_run_once")

    def _count_trio(self) -> None:
        import trio

        class Counter(trio.abc.Instrument):
            def before_io_wait(_self, timeout: float) -> None:
                self._turned()

        self.turns = 0
        counter = Counter()
        trio.lowlevel.add_instrument(counter)
        self._uninstall = lambda: trio.lowlevel.remove_instrument(counter)
