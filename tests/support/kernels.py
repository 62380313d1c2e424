"""Real Jupyter kernels, of ipykernel 7 and 6, driven by jupyter_client: cells run, interrupted, restarted; nothing of a
kernel is left when its `with` block ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import zmq
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from labtether.testing import ScriptedInstrument, script

KERNEL6 = Path(sys.prefix) / "ipykernel6"
"""Where `tools/kernel6` puts ipykernel 6, beside version 7 which is installed."""

VERSIONS = (7, 6)

PATIENCE = 30.0
"""Seconds for what a kernel has to do: a guard against hanging, not a measurement."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Cell:
    """A cell that runs, or has run: what it has shown until now."""

    def __init__(self, kernel: Kernel, code: str) -> None:
        self._kernel = kernel
        self.code = code
        self.text = ""
        """What it has printed, to stdout and stderr."""
        self.results: list[dict[str, Any]] = []
        """The bundles of what it has displayed and of its value."""
        self.error: tuple[str, str, str] | None = None
        """The name of the exception's class, its text, and the traceback without colours."""
        self.ended: float | None = None
        """When the kernel was idle again, by `time.monotonic()`."""
        self.began = time.monotonic()
        self.wanted: dict[str, Any] = {}
        self._replied = False

    @property
    def seconds(self) -> float:
        """How long it has taken, the way there and back included."""
        assert self.ended is not None, f"it still runs: {self.code}"
        return self.ended - self.began

    @property
    def over(self) -> bool:
        """Whether the kernel has replied and is idle again."""
        return self._replied and self.ended is not None

    @property
    def value(self) -> str:
        """Its value, as text."""
        text: str = self.results[-1]["text/plain"]
        return text

    def finish(self, timeout: float = PATIENCE) -> Self:
        """Wait for its end."""
        self._kernel.until(lambda: self.over, timeout, lambda: f"the cell does not end: {self.told()}")
        return self

    def until(self, text: str, timeout: float = PATIENCE) -> Self:
        """Wait until it has printed `text`."""
        self._kernel.until(lambda: text in self.text, timeout, lambda: f"no {text!r} in {self.told()}")
        return self

    def fine(self) -> Self:
        """Itself, if it ended without an error."""
        self.finish()
        assert self.error is None, self.told()
        return self

    def told(self) -> str:
        """All of it, for a failing test."""
        error = "" if self.error is None else "\n".join(self.error)
        return f"{self.code}\n-- text:\n{self.text}\n-- results: {self.results}\n-- error:\n{error}"

    def hear(self, kind: str, content: dict[str, Any]) -> None:
        """What the kernel says of it."""
        match kind:
            case "stream":
                self.text += content["text"]
            case "display_data" | "execute_result":
                self.results.append(content["data"])
            case "error":
                self._fail(content)
            case "status" if content["execution_state"] == "idle":
                self.ended = time.monotonic()
            case "execute_reply":
                self._replied = True
                self.wanted = content.get("user_expressions", {}).get("wanted", {})
                if content["status"] == "error":  # of an ExceptionGroup IPython prints the traceback
                    self._fail(content)

    def _fail(self, content: dict[str, Any]) -> None:
        trace = _COLOURS.sub("", "\n".join(content["traceback"]))
        self.error = (content["ename"], content["evalue"], trace)


class Kernel:
    """A kernel with folders of its own, whose process does not outlive the `with` block.

    version: of ipykernel, 7 or 6. The test is skipped where that one is not there.
    """

    def __init__(self, version: int = 7) -> None:
        if version == 6 and not KERNEL6.is_dir():
            pytest.skip(f"no ipykernel 6: `tools/kernel6 {KERNEL6}` puts it there")
        self.version = version
        self._cells: dict[str, Cell] = {}
        self._replies: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self.folder = tempfile.mkdtemp(prefix="labtether-kernel-")
        names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")
        env = {**os.environ, **dict.fromkeys(names, self.folder), "JUPYTER_NO_CONFIG": "1"}
        if self.version == 6:
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(KERNEL6), os.environ.get("PYTHONPATH")]))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # Sockets in the folder, not ports: nobody else can take one between its choice and its use.
        self._manager = KernelManager(
            connection_file=os.path.join(self.folder, "kernel.json"), transport="ipc", context=self._context
        )
        self._client: Any = None
        try:
            self._manager.start_kernel(env=env, cwd=self.folder)
            self._connect()
        except BaseException:
            self.shutdown(now=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.shutdown(now=kind is not None)

    def _connect(self) -> None:
        self._client = self._manager.client(context=self._context)
        self._client.start_channels(hb=False, stdin=False)
        self._client.wait_for_ready(timeout=PATIENCE)
        self._cells.clear()
        self.pid = self._manager.provisioner.process.pid  # type: ignore[union-attr]

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.stop_channels()
            self._client = None

    # -- cells ---------------------------------------------------------------------------------------------------------

    def start(self, code: str) -> Cell:
        """Have a cell run, and go on."""
        return self._start(code, None)

    def _start(self, code: str, subshell: str | None, *, silent: bool = False, wanted: str = "None") -> Cell:
        content = {"code": code, "silent": silent, "store_history": not silent, "allow_stdin": False}
        content |= {"stop_on_error": False, "user_expressions": {"wanted": wanted}}
        message = self._client.session.msg("execute_request", content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        cell = self._cells[message["header"]["msg_id"]] = Cell(self, code)
        self._client.shell_channel.send(message)
        return cell

    def run(self, code: str, timeout: float = PATIENCE) -> Cell:
        """Run a cell to its end, which may be an error."""
        return self.start(code).finish(timeout)

    def fine(self, code: str, timeout: float = PATIENCE) -> Cell:
        """Run a cell that does not fail."""
        return self.run(code, timeout).fine()

    def in_silence(self, code: str, wanted: str = "None") -> str:
        """Run code that is no cell of the user's: it shows nothing, and IPython's hooks are not called. Gives the text
        of the expression `wanted`."""
        cell = self._start(code, None, silent=True, wanted=wanted).fine()
        text: str = cell.wanted["data"]["text/plain"]
        return text

    def until_in_silence(self, condition: str) -> None:
        """Wait until an expression is true there."""
        give_up = time.monotonic() + PATIENCE
        while self.in_silence("", f"bool({condition})") != "True":
            assert time.monotonic() < give_up, f"it did not come to pass: {condition}"

    def until(self, condition: Callable[[], object], timeout: float, told: Callable[[], str] = str) -> None:
        """Listen to the kernel until `condition` holds."""
        give_up = time.monotonic() + timeout
        while not condition():
            assert self._manager.is_alive(), f"the kernel has died: {told()}"
            assert time.monotonic() < give_up, told()
            self._listen()

    def _listen(self) -> None:
        channels = (self._client.iopub_channel, self._client.shell_channel, self._client.control_channel)
        poller = zmq.Poller()
        for channel in channels:
            poller.register(channel.socket, zmq.POLLIN)
        ready = dict(poller.poll(20))
        for channel in channels:
            if channel.socket not in ready:
                continue
            message = channel.get_msg(timeout=PATIENCE)
            asked = message["parent_header"].get("msg_id", "")
            if (cell := self._cells.get(asked)) is not None:
                cell.hear(message["msg_type"], message["content"])
            elif channel is self._client.control_channel:
                self._replies[asked] = message["content"]

    # -- what a user can do to it --------------------------------------------------------------------------------------

    def interrupt(self) -> float:
        """Click Stop; when, by `time.monotonic()`. The kernel has taken the signal when this returns: of two that are
        pending at once it would take one."""
        now = time.monotonic()
        self._manager.interrupt_kernel()
        while self._is_pending(signal.SIGINT):
            assert time.monotonic() < now + PATIENCE, "the kernel does not take the interrupt"
        return now

    def _is_pending(self, number: int) -> bool:
        with open(f"/proc/{self.pid}/status") as status:
            pending = next(line for line in status if line.startswith("ShdPnd:"))
        return bool(int(pending.split()[1], 16) & 1 << (number - 1))

    def stop(self, cell: Cell) -> float:
        """Click Stop and wait for the end of `cell`; seconds from the click until the kernel was idle."""
        clicked = self.interrupt()
        cell.finish()
        assert cell.ended is not None
        return cell.ended - clicked

    def restart(self) -> None:
        """As the menu does: an interrupt, a request, and after some seconds a signal; then a new process."""
        self._disconnect()
        self._manager.restart_kernel()
        self._connect()

    def shutdown(self, *, now: bool = False) -> float:
        """End it, kindly unless `now`; seconds until its process was gone. May be called twice."""
        began = time.monotonic()
        self._disconnect()
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=now)
        seconds = time.monotonic() - began
        if not self._context.closed:
            self._manager.cleanup_resources()
            self._context.destroy(linger=0)
        shutil.rmtree(self.folder, ignore_errors=True)
        return seconds

    def request_shutdown(self) -> None:
        """Ask for its end without an interrupt, as some frontends do, and wait for it."""
        self._client.shutdown()
        self._manager.provisioner.process.wait(PATIENCE)  # type: ignore[union-attr]

    @property
    def alive(self) -> bool:
        """Whether there is a process of that number."""
        return os.path.exists(f"/proc/{self.pid}")

    def descriptors(self) -> list[str]:
        """Where the descriptors of its process lead."""
        folder = f"/proc/{self.pid}/fd"
        targets = []
        for number in os.listdir(folder):
            try:
                targets.append(os.readlink(f"{folder}/{number}"))
            except FileNotFoundError:
                continue  # closed while we looked
        return sorted(targets)

    def subshell(self) -> Subshell:
        """Somewhere else to run cells while one runs: ipykernel 7 alone has that."""
        message = self._client.session.msg("create_subshell_request", {})
        self._client.control_channel.send(message)
        asked = message["header"]["msg_id"]
        self.until(lambda: asked in self._replies, PATIENCE, lambda: "no subshell")
        return Subshell(self, self._replies[asked]["subshell_id"])


class Subshell:
    """A second place to run cells in one kernel: a thread with a loop of its own."""

    def __init__(self, kernel: Kernel, number: str) -> None:
        self._kernel = kernel
        self._number = number

    def run(self, code: str, timeout: float = PATIENCE) -> Cell:
        """Run a cell to its end, which may be an error."""
        return self._kernel._start(code, self._number).finish(timeout)

    def fine(self, code: str, timeout: float = PATIENCE) -> Cell:
        """Run a cell that does not fail."""
        return self.run(code, timeout).fine()


@pytest.fixture(scope="session")
def jupyters_loop() -> Iterator[None]:
    """jupyter_client keeps a loop per thread: it is there before anything is counted."""
    loop = ensure_event_loop()
    yield
    loop.close()


@pytest.fixture(scope="module", params=VERSIONS, ids=["ipykernel7", "ipykernel6"])
def kernel(request: pytest.FixtureRequest, jupyters_loop: None) -> Iterator[Kernel]:
    """One kernel for the tests of a file that do not end it; `lt` is imported there."""
    with Kernel(request.param) as kernel:
        kernel.fine("import asyncio, gc, os, sys, threading, time\nimport labtether as lt")
        yield kernel


@pytest.fixture(params=VERSIONS, ids=["ipykernel7", "ipykernel6"])
def fresh_kernel(request: pytest.FixtureRequest, jupyters_loop: None) -> Iterator[Kernel]:
    """A kernel for one test, which may end it."""
    with Kernel(request.param) as kernel:
        kernel.fine("import labtether as lt")
        yield kernel


@pytest.fixture
def psu(kernel: Kernel) -> Iterator[ScriptedInstrument]:
    """An instrument here, for the kernel: it answers `ASK 1` with `re 1` and is silent about `S`. What the test calls
    `link` in the kernel is stopped afterwards."""
    with scripted() as psu:
        yield psu
        kernel.fine("if 'link' in globals():\n    await link.stop()\n    del link")


def scripted(name: str = "psu") -> ScriptedInstrument:
    """Such an instrument."""
    psu = script(name)
    psu.when(r"ASK (?P<what>.+)").reply("re {what}")
    psu.when("S").silence()
    return psu


def setting_up(port: str, **options: Any) -> str:
    """A cell that sets up `link`, whose instrument answers at once: getting back in step takes no time."""
    given = {"name": "psu", "settle": 0.001, "drain": 0.02, **options}
    return f"link = await lt.serial({port!r}, {', '.join(f'{key}={value!r}' for key, value in given.items())}).setup()"
