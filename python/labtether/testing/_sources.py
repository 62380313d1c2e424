"""Conversations wherever they are written: which kind of file one is, and reading it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeAlias

from labtether.testing._recorded import Recorded, parse_recording
from labtether.testing._transcript import Transcript, parse_transcript, read_transcript
from labtether.testing.readers import (
    Borrowed,
    VisaDevice,
    read_pylabrobot,
    read_pyvisa_sim,
    read_reserial,
)

__all__ = ["Conversation", "Source", "as_conversation", "as_transcript", "load"]

Conversation: TypeAlias = "Transcript | Recorded | Borrowed | VisaDevice"
Source: TypeAlias = "str | os.PathLike[str] | Transcript | Recorded | Borrowed"


def load(
    path: str | os.PathLike[str],
    *,
    device: str | None = None,
    framing: str | bytes | None = None,
    transport: str = "pty",
) -> Conversation:
    """The conversation in a file, of whatever kind: a transcript, a recording, or another program's.

    device: the name of one where a file has several: a device or resource of pyvisa-sim, a test of pytest-reserial, a
    device of PyLabRobot. framing: what ends a message in files that do not say it. transport: which of pyvisa-sim's
    ends of messages are taken.

    Raises OSError, or ValueError that names file and line.
    """
    file = Path(os.fspath(path))
    if file.suffix.lower() in (".yaml", ".yml"):
        return read_pyvisa_sim(file, device, transport=transport, framing=framing)
    start = file.read_bytes()
    if not start.lstrip().startswith((b"{", b"[")):
        if device is not None:
            raise ValueError(f"{file}: a transcript has one instrument, and no {device!r}")
        return read_transcript(file)
    first = _json(start.split(b"\n", 1)[0])
    if isinstance(first, dict) and "labtether" in first:
        return parse_recording(start, source=str(file))
    whole = first if first is not None else _json(start)
    if isinstance(whole, dict) and "commands" in whole:
        return read_pylabrobot(file, device, framing=framing)
    return read_reserial(file, device, framing=framing)


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def as_conversation(source: Source) -> Transcript | Recorded:
    """What `source` is: a conversation, the path of a file, or the text of a transcript (which has several lines, or
    begins with one of its signs)."""
    if isinstance(source, (Transcript, Recorded)):
        return source
    if isinstance(source, Borrowed):
        return source.transcript
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source is a path, a transcript or a recording, not {type(source).__name__}")
    if isinstance(source, str) and ("\n" in source or source.lstrip()[:1] in ("<", ">", "=", "#")):
        return parse_transcript(source)
    found = load(source)
    if isinstance(found, VisaDevice):
        raise ValueError(f"{source} describes devices, not a conversation: use labtether.testing.simulate")
    return found.transcript if isinstance(found, Borrowed) else found


def as_transcript(source: Source, *, pause: float = 0.02) -> Transcript:
    """The same, in messages; see Recorded.transcript."""
    found = as_conversation(source)
    return found.transcript(pause=pause) if isinstance(found, Recorded) else found
