"""A device of a pyvisa-sim file, as it behaves: dialogues, properties, channels, errors. Commands in, replies out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from labtether.testing.readers._formats import Pattern, randomized, shown, wire_bytes

__all__ = ["Errors", "Part", "Property", "VisaDevice"]

SILENT = "null_response"
"""What a file writes for no response at all."""


@dataclass
class Property:
    """One thing a device remembers, for each channel if it belongs to channels."""

    name: str
    default: str
    getter: tuple[str, str] | None = None
    setter: tuple[Pattern, bytes | None, bytes | None] | None = None
    kind: type | None = None
    least: Any = None
    most: Any = None
    valid: tuple[Any, ...] = ()
    values: dict[str | None, Any] = field(default_factory=dict)

    def value(self, channel: str | None) -> Any:
        """What it is now."""
        if channel in self.values:
            return self.values[channel]
        return self.checked(self.default) if self.default or self.kind is str else self.default

    def checked(self, value: Any) -> Any:
        """A value of the right kind. Raises ValueError if it may not be this."""
        if self.kind is None:
            return value
        value = self.kind(value)
        if self.least is not None and value < self.least:
            raise ValueError(f"{self.name} is at least {self.least}, not {value}")
        if self.most is not None and value > self.most:
            raise ValueError(f"{self.name} is at most {self.most}, not {value}")
        if self.valid and value not in self.valid:
            raise ValueError(f"{self.name} is one of {self.valid}, not {value}")
        return value


@dataclass
class Part:
    """A device, or the channels of one kind that it has."""

    dialogues: dict[str, str | None] = field(default_factory=dict)
    properties: list[Property] = field(default_factory=list)
    channels: tuple[str, ...] = ()
    can_select: bool = True


@dataclass
class Errors:
    """How a device tells that it did not understand."""

    response: bytes | None = None
    registers: dict[str, int] = field(default_factory=dict)
    """The query of a status register, and the bit for a bad command."""
    queues: dict[str, tuple[bytes, bytes | None]] = field(default_factory=dict)
    """The query of an error queue, its answer when it is empty, and the one for a bad command."""


class VisaDevice:
    """A device of a pyvisa-sim file. `answer` takes a command without its end and gives what it says, each reply
    without its end."""

    def __init__(
        self,
        name: str,
        ends: tuple[bytes, bytes],
        whole: Part,
        channels: list[Part],
        errors: Errors,
        delimiter: str = ";",
        cannot_tell: tuple[str, ...] = (),
        seed: int = 0,
    ) -> None:
        self.name = name
        self.ends = ends
        self.cannot_tell = cannot_tell
        self._parts = [whole, *channels]
        self._errors = errors
        self._delimiter = delimiter
        self._raised = dict.fromkeys(errors.registers, 0)
        self._queued: dict[str, list[bytes]] = {query: [] for query in errors.queues}
        self._dice = random.Random(seed)

    def __repr__(self) -> str:
        return f"<VisaDevice {self.name}>"

    @property
    def commands(self) -> list[str]:
        """What it can be asked, in alphabetical order: for looking at."""
        asked = {query for part in self._parts for query in part.dialogues}
        asked |= {one.getter[0] for part in self._parts for one in part.properties if one.getter}
        return sorted(asked | self._errors.registers.keys() | self._errors.queues.keys())

    def answer(self, command: bytes) -> list[bytes]:
        """What it says to `command`: nothing, one reply, or one for each part between delimiters."""
        text = command.decode("utf-8", "surrogateescape")
        parts = text.split(self._delimiter) if self._delimiter else [text]
        return [reply for part in parts for reply in self._replies(part)]

    def _replies(self, command: str) -> Iterator[bytes]:
        found, reply = self._reply(command)
        reply = reply if found else self._misunderstood()
        if reply is not None:
            yield reply

    def _reply(self, command: str) -> tuple[bool, bytes | None]:
        """Whether it was understood, and what is said to it."""
        whole, *channels = self._parts
        for answers in (self._told(whole, command, None), self._about_errors(command), self._set(whole, command, None)):
            for answer in answers:
                return True, answer
        for part in channels:
            for answer in self._in_channels(part, command):
                return True, answer
        return False, None

    def _told(self, part: Part, command: str, channel: str | None) -> Iterator[bytes | None]:
        for query, answer in part.dialogues.items():
            if command == _named(query, channel):
                yield None if answer is None else wire_bytes(randomized(answer, self._dice))
        for one in part.properties:
            if one.getter is not None and command == _named(one.getter[0], channel):
                yield wire_bytes(shown(one.getter[1], one.value(channel), self._dice))

    def _about_errors(self, command: str) -> Iterator[bytes]:
        if command in self._raised:
            value, self._raised[command] = self._raised[command], 0
            yield str(value).encode()
        elif command in self._queued:
            queue = self._queued[command]
            yield queue.pop(0) if queue else self._errors.queues[command][0]

    def _set(self, part: Part, command: str, channel: str | None) -> Iterator[bytes | None]:
        for one in part.properties:
            if one.setter is None:
                continue
            pattern, answer, refusal = one.setter
            found = pattern.read(command)
            if found is None:
                continue
            value, named = found
            if named is not None and named not in part.channels:
                continue
            try:
                one.values[channel if named is None else named] = one.checked(value)
            except ValueError:
                if refusal is None:
                    continue
                yield refusal
                return
            yield answer

    def _in_channels(self, part: Part, command: str) -> Iterator[bytes | None]:
        if not part.can_select:
            selected = next((one for one in self._parts[0].properties if one.name == "selected_channel"), None)
            channel = None if selected is None else str(selected.value(None))
            if channel in part.channels:
                yield from self._told(part, command, channel)
                yield from self._set(part, command, channel)
            return
        for channel in part.channels:
            yield from self._told(part, command, channel)
        yield from self._set(part, command, part.channels[-1] if part.channels else None)

    def _misunderstood(self) -> bytes | None:
        for query, bit in self._errors.registers.items():
            self._raised[query] |= bit
        for query, (_, error) in self._errors.queues.items():
            if error is not None:
                self._queued[query].append(error)
        return self._errors.response


def _named(query: str, channel: str | None) -> str:
    return query if channel is None else query.replace("{ch_id}", channel)
