"""The C programs: built into a temporary folder at run time, started, and ended."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

SOURCES = Path(__file__).parent / "native"


class NoCompiler(Exception):
    """There is no C compiler here."""


def compiler() -> list[str]:
    """The command of a C compiler."""
    configured = shlex.split(sysconfig.get_config_var("CC") or "")[:1]
    for command in ["cc", *configured, "gcc", "clang"]:
        if shutil.which(command):
            return [command]
    raise NoCompiler("no C compiler (cc, gcc or clang): the limit and the instruments are C programs")


class Native:
    """The C programs, and the instruments that were started with them. All end with the block."""

    def __init__(self) -> None:
        self._cc = compiler()
        self._folder = tempfile.TemporaryDirectory(prefix="labtether-bench-")
        self._running: list[subprocess.Popen[str]] = []
        self.limit = self._built("limit")
        self._instrument = self._built("instrument")
        self._bank = self._built("bank")

    def _built(self, name: str) -> str:
        program = str(Path(self._folder.name) / name)
        subprocess.run([*self._cc, "-O2", "-o", program, str(SOURCES / f"{name}.c")], check=True)
        return program

    def instrument(self, line: str, mode: str) -> str:
        """Start one on a `pty` or a `tcp` socket; its address. mode: echo, late, silent, push, ids or gaps."""
        return self._started([self._instrument, line, mode], 1)

    def bank(self, line: str, ports: int) -> str:
        """Start so many that answer at once, in one process; their addresses, with commas between them."""
        return self._started([self._bank, line, str(ports)], ports)

    def _started(self, command: list[str], ports: int) -> str:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._running.append(process)
        assert process.stdout is not None
        return ",".join(process.stdout.readline().strip() for _ in range(ports))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._folder.cleanup()
