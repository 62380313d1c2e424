"""Reading recordings back: what `link.record(path)` wrote, and what can be made of it. How a line looks is said in
`labtether._recording`."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from labtether.testing._transcript import Comment, Pause, Said, Sent, Step, Transcript

__all__ = ["Recorded", "RecordedEvent", "parse_recording", "read_recording"]


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event of a recording.

    time: seconds since the recording began. direction: ">" to the instrument, "<" from it, "!" something that happened
    to the link, which `note` names.
    """

    time: float
    direction: str
    data: bytes = b""
    note: str = ""


@dataclass(frozen=True)
class Recorded:
    """A recording that was read.

    headers: what each of the recordings in the file says of itself; usually there is one. parts: their events. torn:
    the last line was cut off, by a crash. dropped: events that the file took too slowly, and that are missing.
    """

    headers: tuple[dict[str, Any], ...]
    parts: tuple[tuple[RecordedEvent, ...], ...]
    torn: bool = False
    dropped: int = 0
    source: str = field(default="<recording>", compare=False)

    @property
    def name(self) -> str:
        """The link's name."""
        return str(self.headers[0].get("link", "instrument"))

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """The events of all parts."""
        return tuple(event for part in self.parts for event in part)

    @property
    def sent(self) -> bytes:
        """All that was sent to the instrument."""
        return b"".join(event.data for event in self.events if event.direction == ">")

    @property
    def said(self) -> bytes:
        """All that the instrument said."""
        return b"".join(event.data for event in self.events if event.direction == "<")

    @property
    def cannot_tell(self) -> tuple[str, ...]:
        """What is not in it, in words."""
        missing = [f"{self.dropped} events are missing: the file took them too slowly"] if self.dropped else []
        return (*missing, *(["its last line is torn: what came then is not known"] if self.torn else []))

    def steps(self) -> Iterator[Step]:
        """What happened, piece by piece, with the silence between the pieces."""
        for part in self.parts:
            before: float | None = None
            for event in part:
                if event.direction == "!":
                    yield Comment(" ".join(event.note.split()))
                    continue
                if before is not None and event.time > before:
                    yield Pause(event.time - before)
                before = event.time
                yield Sent(event.data) if event.direction == ">" else Said(event.data)

    def transcript(self, *, pause: float = 0.02) -> Transcript:
        """The conversation, in messages where the link had lines. pause: seconds of silence that are worth telling;
        before what the host sends, a second at least."""
        sent_end, said_end = _ends(self)
        steps: list[Step] = [Comment(line) for line in _about(self.headers[0])]
        steps += [Comment(f"cannot be told: {what}") for what in self.cannot_tell]
        for part in self.parts:
            for run in _runs(part, pause):
                steps += run.steps(sent_end, said_end)
        name = " ".join(self.name.split())
        return Transcript(tuple(steps), sent_end, said_end, name or None, self.source)


# -- reading -----------------------------------------------------------------------------------------------------------


def read_recording(path: str | Path) -> Recorded:
    """The recording in a file. A last line that a crash has torn is left out. Raises OSError if the file cannot be
    read, ValueError with file and line if it is no recording."""
    return parse_recording(Path(path).read_bytes(), source=str(path))


def parse_recording(data: bytes, *, source: str = "<recording>") -> Recorded:
    """The recording that `data` is; see read_recording."""
    lines = data.split(b"\n")
    whole = lines[-1] == b""
    lines = lines[:-1] if whole else lines
    headers: list[dict[str, Any]] = []
    parts: list[list[RecordedEvent]] = []
    dropped, torn = 0, False
    for number, line in enumerate(lines, 1):
        where = f"{source}:{number}"
        if not line.strip():
            continue
        # A crash tears the last line; a recording that was begun after it in the same file begins with its header.
        may_be_torn = (number == len(lines) and not whole) or _is_header(lines[number : number + 1])
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            if may_be_torn and headers:
                torn = True
                continue
            raise ValueError(f"{where}: this is no line of a recording: {error}") from None
        if "labtether" in row:
            if row["labtether"] != 1:
                raise ValueError(f"{where}: this labtether reads recordings of version 1, not {row['labtether']!r}")
            headers.append(row)
            parts.append([])
        elif not headers:
            raise ValueError(f'{where}: a recording begins with its header, {{"labtether": 1, ...}}')
        else:
            dropped += _count(row, where)
            parts[-1].append(_event(row, where))
    if not headers:
        raise ValueError(f"{source}: this is no recording: it is empty")
    return Recorded(tuple(headers), tuple(tuple(part) for part in parts), torn, dropped, source)


def _is_header(lines: list[bytes]) -> bool:
    return bool(lines) and lines[0].startswith(b'{"labtether"')


def _wrong(where: str, why: str) -> NoReturn:
    raise ValueError(f"{where}: {why}")


def _count(row: dict[str, Any], where: str) -> int:
    count = row.get("dropped", 0)
    return count if isinstance(count, int) else _wrong(where, f"dropped is a number, not {count!r}")


def _event(row: dict[str, Any], where: str) -> RecordedEvent:
    time, direction, text = row.get("t"), row.get("dir"), row.get("txt", "")
    if isinstance(time, bool) or not isinstance(time, (int, float)) or not 0 <= time < float("inf"):
        _wrong(where, f"t is a number of seconds, not {time!r}")
    if direction not in (">", "<", "!"):
        _wrong(where, f'dir is ">", "<" or "!", not {direction!r}')
    if not isinstance(text, str):
        _wrong(where, f"txt is text, not {text!r}")
    if direction == "!":
        return RecordedEvent(float(time), "!", b"", text)
    return RecordedEvent(float(time), str(direction), _data(row, text, where))


def _data(row: dict[str, Any], text: str, where: str) -> bytes:
    """The bytes of an event. Who writes one by hand needs no base64."""
    try:
        shown = text.encode("latin-1")
    except UnicodeEncodeError:
        _wrong(where, f"txt holds characters that are no bytes: {text!r}")
    if "b64" not in row:
        return shown or _wrong(where, "neither b64 nor txt says what went over the wire")
    try:
        data = base64.b64decode(row["b64"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        _wrong(where, f"b64 is no base64: {row['b64']!r}")
    if "txt" in row and shown != data:
        _wrong(where, f"b64 says {data!r} and txt {shown!r}: take b64 away if you have changed txt")
    return data


# -- to messages -------------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """What went one way, without a silence in it; and the silence before."""

    direction: str
    data: bytes
    silence: float
    note: str = ""

    def steps(self, sent_end: bytes, said_end: bytes) -> Iterator[Step]:
        if self.direction == "!":
            yield Comment(self.note)
            return
        if self.silence:
            yield Pause(self.silence)
        make, end = (Sent, sent_end) if self.direction == ">" else (Said, said_end)
        rest = self.data
        while rest:
            at = rest.find(end) + len(end) if end and end in rest else len(rest)
            yield make(rest[:at])
            rest = rest[at:]


def _runs(part: tuple[RecordedEvent, ...], pause: float) -> Iterator[_Run]:
    run: _Run | None = None
    before: float | None = None
    for event in part:
        if event.direction == "!":
            if run is not None:
                yield run
                run = None
            yield _Run("!", b"", 0.0, " ".join(event.note.split()))
            continue
        gap = 0.0 if before is None else event.time - before
        before = event.time
        worth = pause if event.direction == "<" else max(pause, 1.0)
        silence = round(gap, 3) if gap >= worth else 0.0
        if run is not None and run.direction == event.direction and not silence:
            run.data += event.data
            continue
        if run is not None:
            yield run
        run = _Run(event.direction, event.data, silence)
    if run is not None:
        yield run


def _about(header: dict[str, Any]) -> list[str]:
    words = [f"recorded {header['started']}"] if "started" in header else []
    words += [f"from {header['url']}"] if "url" in header else []
    return [" ".join(" ".join(words).split())] if words else []


def _ends(recorded: Recorded) -> tuple[bytes, bytes]:
    """What ended messages each way, if one thing did."""
    ends = recorded.headers[0].get("ends") or {}
    try:
        sent, said = str(ends[">"]).encode("latin-1"), [str(end).encode("latin-1") for end in ends["<"]]
    except (KeyError, TypeError, UnicodeEncodeError):
        return b"", b""
    if not said or not said[0]:
        return b"", b""
    if said == [b"\n"] and recorded.said.count(b"\n") == recorded.said.count(b"\r\n") > 0:
        return sent, b"\r\n"  # lines that end in LF may have a CR before it
    return sent, said[0]
