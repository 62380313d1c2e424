r"""Transcripts: a conversation written down, to be read by people and played by `replay`.

    # A supply that is asked for its name, and slow to measure.
    = framing "\r\n"
    > *IDN?
    < ACME,PSU,1.0
    > MEAS?
    ~ 300ms
    < 1.23
    ~ 2s
    < ALARM

A line begins with its sign; blanks before it do not count:

    >   the host sends this
    <   the instrument says this, to what was sent before it, or of its own accord
    ~   silence before what follows: 300ms, 2s, 1.5 s, 1m
    #   a comment; an empty line is nothing
    =   a setting, before the first of the others:
            = name psu
            = framing "\r\n"            every message ends in CR LF
            = framing > "\r" < "\r\n"   what is sent ends in CR, what is said in CR LF

After the sign comes one blank, then the message up to the end of the line. With a framing, its end is added; a `\` as
the last character of a line says that it is not: part of a message, or bytes that are none. Without one, what is
written is what goes on the wire. Messages are ASCII; all other bytes are written as escapes: `\r \n \t \0 \\ \xHH`.
A blank at the end of a line would not be seen, and is written `\x20`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeAlias

from labtether._checks import check_seconds
from labtether._escapes import BadEscape, escaped, quoted, unescaped

__all__ = ["Blank", "Comment", "Pause", "Said", "Sent", "Step", "Transcript", "parse_transcript", "read_transcript"]


@dataclass(frozen=True, slots=True)
class Sent:
    """The host sends this: the bytes on the wire, their end included."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Said:
    """The instrument says this: the bytes on the wire, their end included."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence before what follows."""

    seconds: float

    def __post_init__(self) -> None:
        if check_seconds(self.seconds, "a pause", finite=True) is None:
            raise TypeError("a pause is a number of seconds, not None")


@dataclass(frozen=True, slots=True)
class Comment:
    """For people."""

    text: str = ""

    def __post_init__(self) -> None:
        if "\n" in self.text or "\r" in self.text or self.text != self.text.strip():
            raise ValueError(f"a comment is one line, without blanks around it: {self.text!r}")


@dataclass(frozen=True, slots=True)
class Blank:
    """An empty line."""


Step: TypeAlias = Sent | Said | Pause | Comment | Blank


@dataclass(frozen=True)
class Transcript:
    """A conversation. `str()` of it is the text that `parse_transcript` reads.

    steps: what happens, in order. sent_end, said_end: what ends a message each way; b"": nothing is added to what is
    written. name: the instrument's. source: where it was read, for errors.
    """

    steps: tuple[Step, ...] = ()
    sent_end: bytes = b""
    said_end: bytes = b""
    name: str | None = None
    source: str = field(default="<transcript>", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if self.name is not None and (not self.name.strip() or self.name != self.name.strip() or "\n" in self.name):
            raise ValueError(f"a name is one line, without blanks around it: {self.name!r}")
        for step in self.steps:
            if isinstance(step, (Sent, Said)) and not step.data:
                raise ValueError(f"{type(step).__name__} has no bytes")

    @property
    def sent(self) -> bytes:
        """All that the host sends."""
        return b"".join(step.data for step in self.steps if isinstance(step, Sent))

    @property
    def said(self) -> bytes:
        """All that the instrument says."""
        return b"".join(step.data for step in self.steps if isinstance(step, Said))

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        if self.name is not None:
            yield f"= name {self.name}"
        if self.sent_end or self.said_end:
            yield f"= framing {self._framing()}"
        for step in self.steps:
            match step:
                case Sent(data):
                    yield ">" + _message(data, self.sent_end)
                case Said(data):
                    yield "<" + _message(data, self.said_end)
                case Pause(seconds):
                    yield f"~ {_span(seconds)}"
                case Comment(text):
                    yield f"# {text}" if text else "#"
                case Blank():
                    yield ""

    def _framing(self) -> str:
        if self.sent_end == self.said_end:
            return quoted(self.sent_end)
        return f"> {quoted(self.sent_end)} < {quoted(self.said_end)}"


def _message(data: bytes, end: bytes) -> str:
    whole = bool(end) and data.endswith(end)
    text = escaped(data[: len(data) - len(end)] if whole else data)
    if text.startswith(" "):
        text = r"\x20" + text[1:]
    if text.endswith(" "):
        text = text[:-1] + r"\x20"
    return (f" {text}" if text else "") + ("\\" if end and not whole else "")


def _span(seconds: float) -> str:
    milliseconds = f"{seconds * 1000:.10g}"
    if 0 < seconds < 1 and float(milliseconds) / 1000 == seconds:
        return f"{milliseconds}ms"
    return f"{seconds!r}s".replace(".0s", "s")


# -- reading -----------------------------------------------------------------------------------------------------------


def read_transcript(path: str | Path) -> Transcript:
    """The transcript in a file. Raises OSError if it cannot be read, ValueError with file and line if it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: this is not text: {error}") from None
    return parse_transcript(text, source=str(path))


def parse_transcript(text: str, *, source: str = "<transcript>") -> Transcript:
    """The transcript that `text` is; the module says how one is written.

    source: where it comes from, for errors. Raises ValueError that names source and line, and says what is wrong.
    """
    reader = _Reader(source)
    for number, line in enumerate(text.split("\n"), 1):
        reader.line(number, line.removesuffix("\r").lstrip(" \t"))
    return reader.transcript()


_SPAN = re.compile(r"(\d+(?:\.\d*)?(?:e-?\d+)?|\.\d+)\s*(us|ms|s|m|min)", re.IGNORECASE)
_UNITS = {"us": 1e6, "ms": 1e3, "s": 1.0}
_MINUTE = 60.0
_ENDS = re.compile(r'> *"([^"]*)" *< *"([^"]*)"|"([^"]*)"')


class _Reader:
    """The state of reading: where, and what has been read."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._number = 0
        self._steps: list[Step] = []
        self._ends: tuple[bytes, bytes] | None = None
        self._name: str | None = None
        self._begun = False

    def transcript(self) -> Transcript:
        steps = self._steps
        while steps and isinstance(steps[-1], Blank):
            steps.pop()
        sent_end, said_end = self._ends or (b"", b"")
        return Transcript(tuple(steps), sent_end, said_end, self._name, self._source)

    def _wrong(self, why: str) -> NoReturn:
        raise ValueError(f"{self._source}:{self._number}: {why}")

    def line(self, number: int, line: str) -> None:
        self._number = number
        sign, rest = line[:1], line[1:]
        if not line.strip():
            if self._steps:
                self._steps.append(Blank())
        elif sign == "#":
            self._steps.append(Comment(rest.strip().replace("\r", " ")))
        elif sign == "=":
            self._setting(rest.strip())
        elif sign == "~":
            self._steps.append(self._pause(rest.strip()))
        elif sign in ("<", ">"):
            self._steps.append(self._message(sign, rest))
        else:
            self._wrong(f"a line begins with one of > < ~ # =, not {sign!r}")
        self._begun = self._begun or (sign in ("<", ">", "~") and bool(sign))

    def _message(self, sign: str, rest: str) -> Sent | Said:
        sent_end, said_end = self._ends or (b"", b"")
        end = sent_end if sign == ">" else said_end
        text = rest.removeprefix(" ")
        if text != text.rstrip():
            self._wrong("it ends in a blank, which cannot be seen: write \\x20, or take it away")
        backslashes = len(text) - len(text.rstrip("\\"))
        if backslashes % 2:  # else the last one is the second half of an escape
            text, end = text[:-1], b""
        data = self._bytes(text) + end
        if not data:
            self._wrong(f"{sign} with nothing after it, and no framing that would add an end")
        return Sent(data) if sign == ">" else Said(data)

    def _bytes(self, text: str) -> bytes:
        try:
            return unescaped(text)
        except BadEscape as error:
            self._wrong(str(error))

    def _pause(self, text: str) -> Pause:
        span = _SPAN.fullmatch(text)
        if span is None:
            self._wrong(f"~ takes a time such as 300ms, 2s or 1m, not {text!r}")
        number, unit = float(span[1]), span[2].lower()
        return Pause(number / _UNITS[unit] if unit in _UNITS else number * _MINUTE)

    def _setting(self, text: str) -> None:
        key, _, value = text.partition(" ")
        value = value.strip()
        if self._begun:
            self._wrong("a setting comes before the conversation")
        if key == "name":
            if not value:
                self._wrong("= name needs a name")
            self._name = value
        elif key == "framing":
            self._ends = self._framing(value)
        else:
            self._wrong(f"there is no setting {key!r}; there are framing and name")

    def _framing(self, value: str) -> tuple[bytes, bytes]:
        found = _ENDS.fullmatch(value)
        if found is None:
            self._wrong(f'= framing takes an end in quotes, such as "\\r\\n", or > "\\r" < "\\r\\n", not {value!r}')
        sent, said, both = found.groups()
        return self._bytes(sent if both is None else both), self._bytes(said if both is None else both)


def joined(steps: Iterable[Step]) -> tuple[Step, ...]:
    """`steps` with pieces that follow each other the same way made one."""
    merged: list[Step] = []
    for step in steps:
        last = merged[-1] if merged else None
        if isinstance(step, Sent) and isinstance(last, Sent):
            merged[-1] = Sent(last.data + step.data)
        elif isinstance(step, Said) and isinstance(last, Said):
            merged[-1] = Said(last.data + step.data)
        else:
            merged.append(step)
    return tuple(merged)
