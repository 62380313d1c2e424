"""Instruments from files, to be played with: conversations that begin again, devices of pyvisa-sim."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from labtether._lines import Lines
from labtether._values import Raw
from labtether.testing._replay import ReplayedInstrument
from labtether.testing._script import ScriptedInstrument
from labtether.testing._simulated import SimulatedInstrument
from labtether.testing._sources import load
from labtether.testing.faults import Fault
from labtether.testing.readers import VisaDevice

__all__ = ["simulate"]


def simulate(
    path: str | os.PathLike[str],
    *,
    device: str | None = None,
    name: str | None = None,
    transport: str = "pty",
    framing: str | bytes | None = None,
    pace: float = 1.0,
    faults: Sequence[Fault] = (),
    port: int = 0,
) -> SimulatedInstrument:
    """The instrument that a file describes, switched on: the devices of a pyvisa-sim file behave; a transcript, a
    recording or another program's is played in its order, again and again. See `load` for the files and what they can
    be asked, and `replay` for the rest."""
    found = load(path, device=device, framing=framing, transport=transport)
    if isinstance(found, VisaDevice):
        return _behaving(found, name or found.name, transport, faults, port)
    return ReplayedInstrument(found, name=name, transport=transport, pace=pace, again=True, faults=faults, port=port)


def _behaving(device: VisaDevice, name: str, transport: str, faults: Sequence[Fault], port: int) -> ScriptedInstrument:
    sent, said = device.ends
    framing = Lines(said or sent, send_terminator=sent)
    instrument = ScriptedInstrument(name, framing, transport=transport, faults=faults, port=port)

    def answer(command: Any) -> Raw | None:
        replies = device.answer(command.group().encode("latin-1"))
        return Raw(b"".join(reply + said for reply in replies)) if replies else None

    instrument.when(re.compile(".*", re.DOTALL)).reply(answer)
    return instrument
