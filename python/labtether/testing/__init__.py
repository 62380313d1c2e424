"""For tests: simulated instruments on real pseudo-terminals, and the count of Rust panics."""

from __future__ import annotations

import os
import shutil
import tempfile
from types import TracebackType
from typing import Self

from labtether import _core
from labtether._engine import ensure_started
from labtether.testing._recorded import Recorded, RecordedEvent, parse_recording, read_recording
from labtether.testing._transcript import (
    Blank,
    Comment,
    Pause,
    Said,
    Sent,
    Transcript,
    parse_transcript,
    read_transcript,
)
from labtether.testing.readers import ReadingLoss

__all__ = [
    "Blank",
    "Comment",
    "Pause",
    "ReadingLoss",
    "Recorded",
    "RecordedEvent",
    "Said",
    "Sent",
    "SimulatedInstrument",
    "Transcript",
    "balance",
    "panics",
    "parse_recording",
    "parse_transcript",
    "read_recording",
    "read_transcript",
]


def panics() -> int:
    """How many Rust panics this process has seen."""
    return _core.panics()


class SimulatedInstrument:
    """An instrument that is not there, on a real pseudo-terminal: any serial library can be on the other end.

    Switched on when it is made, off by `stop()` or at the end of its `with` block. `port` stays the same path when it
    is unplugged and plugged in again.
    """

    def __init__(self, simulation: _core.Simulation, name: str) -> None:
        self._simulation = simulation
        self._name = name
        self._folder: str | None = tempfile.mkdtemp(prefix="labtether-")
        self.port = os.path.join(self._folder, name)
        os.symlink(simulation.path, self.port)

    @property
    def heard(self) -> list[str]:
        """The commands it has heard, without their terminators."""
        return [command.decode("latin-1") for command in self._simulation.heard()]

    def disconnect(self) -> None:
        """Pull the cable: the port goes away, the instrument itself goes on."""
        if os.path.lexists(self.port):
            os.unlink(self.port)
        self._simulation.disconnect()

    def reconnect(self) -> None:
        """Plug it in again."""
        path = self._simulation.reconnect()
        if os.path.lexists(self.port):
            os.unlink(self.port)
        os.symlink(path, self.port)

    def stop(self) -> None:
        """Switch it off. May be called twice."""
        folder, self._folder = self._folder, None
        if folder is not None:
            self._simulation.stop()
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<SimulatedInstrument {self._name} on {self.port}{'' if self._folder else ', off'}>"


def balance(*, load: float = 42.0, settle: float = 0.4) -> SimulatedInstrument:
    """A laboratory balance that speaks MT-SICS, CR LF both ways. load: grams on its pan. settle: seconds until a
    weight is stable."""
    ensure_started()
    return SimulatedInstrument(_core.Simulation.balance(float(load), float(settle)), "balance")
