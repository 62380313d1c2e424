"""A real IPython at a real terminal: lines are typed, Ctrl-C is a key, and what is on the screen is read."""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from types import TracebackType
from typing import Self

PATIENCE = 30.0
"""Seconds for what has to come: a guard against hanging, not a measurement."""

CTRL_C = b"\x03"

START = """
import os
os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first that a session opens is its own: Ctrl-C is for it
from IPython import start_ipython
start_ipython()
"""

OPTIONS = ["--no-banner", "--no-confirm-exit", "--colors=NoColor", "--HistoryManager.enabled=False"]

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07|\r")


class TerminalIPython:
    """An IPython in a process of its own, whose terminal is ours; it does not outlive the `with` block."""

    def __init__(self, *options: str) -> None:
        self._options = [*OPTIONS, *options]
        self._heard = b""
        self._seen = 0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="labtether-ipython-")
        # No questions to a terminal that nobody answers, and no decoration.
        env = {**os.environ, "IPYTHONDIR": self._folder.name, "TERM": "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self._screen, line = os.openpty()
        command = [sys.executable, "-c", START, *self._options]
        self.process = subprocess.Popen(command, stdin=line, stdout=line, stderr=line, env=env, start_new_session=True)
        os.close(line)
        self.wait_for(r"In \[1\]: ")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._screen)
        self._folder.cleanup()

    @property
    def screen(self) -> str:
        """All that was written until now, without decoration."""
        return _ESCAPES.sub("", self._heard.decode(errors="replace"))

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._screen, text.encode() + b"\r")

    def ctrl_c(self) -> float:
        """Press Ctrl-C; when, by `time.monotonic()`."""
        now = time.monotonic()
        os.write(self._screen, CTRL_C)
        return now

    def until_asleep(self) -> None:
        """Wait until IPython waits: asleep each time one looks, and having used no processor time in between."""
        give_up, quiet, last = time.monotonic() + PATIENCE, 0, ""
        while quiet < 10:
            assert time.monotonic() < give_up, "it does not come to rest"
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/stat") as stat:
                state, *fields = stat.read().rsplit(")", 1)[1].split()
            now = f"{state} {fields[10]} {fields[11]}"
            quiet, last = (quiet + 1 if state == "S" and now == last else 0), now
            time.sleep(0.002)

    def wait_for(self, pattern: str, timeout: float = PATIENCE) -> str:
        """What is on the screen from what was waited for before until `pattern` is."""
        since = self._seen
        assert self.shows(pattern, timeout), f"no {pattern!r} on the screen:\n{self.screen[since:]}"
        return self.screen[since : self._seen]

    def shows(self, pattern: str, within: float) -> bool:
        """Whether `pattern` comes to the screen within so many seconds, after what was waited for before."""
        give_up = time.monotonic() + within
        while (found := re.compile(pattern).search(self.screen, self._seen)) is None:
            left = give_up - time.monotonic()
            ready, _, _ = select.select([self._screen], [], [], max(0.0, left))
            if not ready:
                return False
            self._heard += os.read(self._screen, 65536)
        self._seen = found.end()
        return True

    def run(self, line: str) -> str:
        """Type a line and wait for the next prompt; what came between."""
        self.type(line)
        return self.wait_for(r"In \[\d+\]: $")

    def define(self, code: str) -> None:
        """Have several lines run as one."""
        assert "Traceback" not in (screen := self.run(f"exec({textwrap.dedent(code)!r})")), screen

    def finish(self) -> int:
        """Leave it; its exit code."""
        self.type("exit")
        code = self.process.wait(PATIENCE)
        assert code >= 0, signal.Signals(-code).name
        return code
