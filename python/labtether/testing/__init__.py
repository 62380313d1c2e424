"""For tests: simulated instruments at real places, faults, and the count of Rust panics.

With pytest the fixture `labsim` makes them, switches them off, and fails the test unless the conversation went as its
script has it. Without pytest, `with labtether.testing.script(...) as psu:` and `psu.check()`.
"""

from __future__ import annotations

from labtether import _core
from labtether._checks import check_span
from labtether.testing import faults
from labtether.testing._cassette import Cassette, CassetteOff, cassette
from labtether.testing._device import device
from labtether.testing._recorded import Recorded, RecordedEvent, parse_recording, read_recording
from labtether.testing._replay import ReplayedInstrument, ReplayReport, replay
from labtether.testing._report import ProtocolMismatch, Report
from labtether.testing._script import ScriptedInstrument, Step, script
from labtether.testing._simulate import simulate
from labtether.testing._simulated import HostSettings, SimulatedInstrument
from labtether.testing._sources import load
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
from labtether.testing._virtual import VirtualTime, virtual_time
from labtether.testing.readers import ReadingLoss

__all__ = [
    "Blank",
    "Cassette",
    "CassetteOff",
    "Comment",
    "HostSettings",
    "Pause",
    "ProtocolMismatch",
    "ReadingLoss",
    "Recorded",
    "RecordedEvent",
    "ReplayReport",
    "ReplayedInstrument",
    "Report",
    "Said",
    "ScriptedInstrument",
    "Sent",
    "SimulatedInstrument",
    "Step",
    "Transcript",
    "VirtualTime",
    "balance",
    "cassette",
    "device",
    "faults",
    "load",
    "panics",
    "parse_recording",
    "parse_transcript",
    "read_recording",
    "read_transcript",
    "replay",
    "script",
    "simulate",
    "virtual_time",
]


def panics() -> int:
    """How many Rust panics this process has seen."""
    return _core.panics()


def balance(*, load: float = 42.0, settle: float = 0.4) -> SimulatedInstrument:
    """A laboratory balance that speaks MT-SICS, CR LF both ways. load: grams on its pan. settle: seconds until a
    weight is stable."""
    return device("balance", load=float(load), stable_after=check_span(settle, "settle"))
