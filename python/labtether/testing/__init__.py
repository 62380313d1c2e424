"""For tests: simulated instruments at real places, faults, and the count of Rust panics.

With pytest the fixture `labsim` makes them, switches them off, and fails the test unless the conversation went as its
script has it. Without pytest, `with labtether.testing.script(...) as psu:` and `psu.check()`.
"""

from __future__ import annotations

from labtether import _core
from labtether._checks import check_span
from labtether.testing import faults
from labtether.testing._device import device
from labtether.testing._report import ProtocolMismatch, Report
from labtether.testing._script import ScriptedInstrument, Step, script
from labtether.testing._simulated import HostSettings, SimulatedInstrument

__all__ = [
    "HostSettings",
    "ProtocolMismatch",
    "Report",
    "ScriptedInstrument",
    "SimulatedInstrument",
    "Step",
    "balance",
    "device",
    "faults",
    "panics",
    "script",
]


def panics() -> int:
    """How many Rust panics this process has seen."""
    return _core.panics()


def balance(*, load: float = 42.0, settle: float = 0.4) -> SimulatedInstrument:
    """A laboratory balance that speaks MT-SICS, CR LF both ways. load: grams on its pan. settle: seconds until a
    weight is stable."""
    return device("balance", load=float(load), stable_after=check_span(settle, "settle"))
