"""Tests that need a process of their own: exit, signals, fork, warnings on the way out."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

TESTS = Path(__file__).parent.parent


class Finished(subprocess.CompletedProcess[str]):
    """How a child ended; `seconds` counts from `finish()`, or from the signal that came last before it."""

    seconds: float


def assert_no_panic(text: str) -> None:
    """Fail if a Rust panic was printed."""
    assert "panicked at" not in text, f"a Rust panic:\n{text}"


class Child:
    """A Python process that runs `code` with every warning an error, and does not outlive its `with` block.

    `code` may import `support`; `*args` arrive in `sys.argv[1:]`. Talk to it in lines: it prints, `line()` waits.
    """

    def __init__(self, code: str, *args: object, env: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, "-X", "faulthandler", "-W", "error", "-c", textwrap.dedent(code)]
        self._command += [str(arg) for arg in args]
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        self._env = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._heard = b""
        self._since: float | None = None

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self._command, env=self._env, stdin=pipe, stdout=pipe, stderr=self._errors)
        return self

    def line(self, timeout: float = 10.0) -> str:
        """The next line it prints, without its end."""
        assert self.process.stdout is not None
        give_up = time.monotonic() + timeout
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, give_up - time.monotonic()))
            part = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not part:
                why = "it ended" if ready else f"nothing for {timeout} s"
                raise AssertionError(f"no line from the child: {why}; heard {self._heard!r}\n{self.stderr()}")
            self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def signal(self, number: int = signal.SIGINT) -> None:
        """Send a signal; the time that `finish` reports starts here."""
        self._since = time.monotonic()
        self.process.send_signal(number)

    def finish(self, timeout: float = 10.0, *, code: int | None = 0) -> Finished:
        """Wait for its end. Fails if that takes too long, if a Rust panic was printed, or unless it exits with `code`
        (None: any; a signal is negative)."""
        since = self._since or time.monotonic()
        try:
            rest, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler says where every thread is
            self.process.wait()
            raise AssertionError(f"the child did not end within {timeout} s\n{self.stderr()}") from None
        seconds = time.monotonic() - since
        finished = Finished(self._command[-1], self.process.returncode, (self._heard + rest).decode(), self.stderr())
        finished.seconds = seconds
        assert_no_panic(finished.stderr + finished.stdout)
        if code is not None and finished.returncode != code:
            raise AssertionError(f"exit code {finished.returncode}, not {code}\n{finished.stdout}\n{finished.stderr}")
        return finished

    def stderr(self) -> str:
        """What it has written to its standard error until now."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        with self._errors:
            self.process.communicate()


def run_child(
    script: str, *args: object, timeout: float = 20.0, code: int | None = 0, env: Mapping[str, str] | None = None
) -> Finished:
    """Run `script` in a process of its own to its end; see `Child.finish` for what fails."""
    with Child(script, *args, env=env) as child:
        return child.finish(timeout, code=code)
