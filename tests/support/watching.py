"""A real kernel as the tests of live pictures need it: cells are run, and what is shown is kept, each by its cell."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty
from types import TracebackType
from typing import Any, Self

import pytest
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

SOON = 30.0
"""Seconds that a kernel may take for anything."""


@dataclass
class Picture:
    """What was shown under one display id."""

    cell: str
    """The message that it was shown for first."""
    forms: list[dict[str, Any]] = field(default_factory=list)
    """The first picture, and what took its place."""
    cells: set[str] = field(default_factory=set)
    """Under which cells the later ones came."""

    @property
    def last(self) -> dict[str, Any]:
        """How it looks now."""
        return self.forms[-1]


class Kernel:
    """A kernel of its own, which ends with the `with` block."""

    def __init__(self) -> None:
        self.pictures: dict[str, Picture] = {}
        self.printed = ""
        self.results: list[dict[str, Any]] = []
        """What cells came to, as `Out` shows it."""
        self.errors: list[tuple[str, str]] = []
        """What cells raised: its class and its text."""
        self._idle: set[str] = set()

    def __enter__(self) -> Self:
        self._context: zmq.Context[Any] = zmq.Context()
        self._manager = KernelManager(kernel_name="python3", context=self._context)
        self._manager.start_kernel()
        client = self._manager.client()
        assert isinstance(client, BlockingKernelClient)
        self._client = client
        self._client.start_channels()
        self._client.wait_for_ready(timeout=SOON)
        self.run("import labtether as lt")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
        self._context.term()

    def start(self, code: str) -> str:
        """Begin a cell; its message."""
        cell: str = self._client.execute(code)
        return cell

    def run(self, code: str) -> str:
        """Run a cell to its end. Fails if it raises."""
        before = len(self.errors)
        cell = self.start(code)
        self.wait(cell)
        assert self.errors[before:] == [], f"{code}\n{self.errors[before:]}"
        return cell

    def wait(self, cell: str) -> None:
        """Until that cell has ended."""
        self.until(lambda: cell in self._idle)

    def interrupt(self) -> None:
        """Press Stop."""
        self._manager.interrupt_kernel()

    def shut_down(self) -> None:
        """Ask it to end, and read what it still says."""
        self._client.shutdown()
        give_up = time.monotonic() + SOON
        while self._manager.is_alive() and time.monotonic() < give_up:
            self._listen(0.05)
        assert not self._manager.is_alive()
        while self._listen(0.2):
            continue

    def until(self, condition: Callable[[], object], within: float = SOON) -> None:
        """Listen until something is so."""
        give_up = time.monotonic() + within
        while not condition():
            assert time.monotonic() < give_up, f"not within {within} s; printed: {self.printed}; {self.errors}"
            self._listen(0.05)

    def silent_for(self, seconds: float) -> bool:
        """Whether no picture changes for so long."""
        before = self.drawn
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            self._listen(0.05)
        return self.drawn == before

    @property
    def drawn(self) -> int:
        """How many pictures have come, in all."""
        return sum(len(picture.forms) for picture in self.pictures.values())

    def picture(self, cell: str) -> Picture:
        """The one that a cell showed."""
        (found,) = [picture for picture in self.pictures.values() if picture.cell == cell]
        return found

    def _listen(self, seconds: float) -> bool:
        try:
            message = self._client.get_iopub_msg(timeout=seconds)
        except Empty:
            return False
        content = message["content"]
        parent = message["parent_header"].get("msg_id", "")
        match message["msg_type"]:
            case "display_data":
                shown = content.get("transient", {}).get("display_id", message["header"]["msg_id"])
                self.pictures[shown] = Picture(parent, [content["data"]])
            case "update_display_data":
                picture = self.pictures[content["transient"]["display_id"]]
                picture.forms.append(content["data"])
                picture.cells.add(parent)
            case "execute_result":
                self.results.append(content["data"])
            case "stream":
                self.printed += content["text"]
            case "error":
                self.errors.append((content["ename"], content["evalue"]))
            case "status" if content["execution_state"] == "idle":
                self._idle.add(parent)
        return True


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """One for the tests of a file."""
    with Kernel() as kernel:
        yield kernel


def left_alone(kernel: Kernel, code: str) -> None:
    """After a test: nothing live goes on, `code` runs, and nothing was printed."""
    kernel.run(f"[one.stop() for one in list(lt._live._showing)]\n{code}")
    assert kernel.printed == ""
    kernel.errors.clear()
    kernel.results.clear()
