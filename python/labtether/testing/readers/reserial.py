"""pytest-reserial's recordings: for each test all bytes that were written and all that were read, and no more."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from labtether.testing._transcript import Comment, Said, Sent, Step, Transcript
from labtether.testing.readers._borrowed import Borrowed, as_end, tell_loss

__all__ = ["read_reserial", "reserial_tests"]

TIMES = "when anything was sent or said"
ORDER = "which reply belongs to which command"


def read_reserial(path: str | Path, test: str | None = None, *, framing: str | bytes | None = None) -> Borrowed:
    """The traffic of one test in a file of pytest-reserial: JSON lines, or the JSON of versions before 0.4.

    test: its name; None if there is only one. framing: what ends a message. With it, and as many replies as commands
    (or as commands with a `?`), each reply is taken to follow its command; else all that was read is taken to be said
    right after the first command, which is never too late.

    Raises OSError, ValueError for what is no such file, or if there are several tests and none is named.
    """
    tests = reserial_tests(path)
    if test is None:
        if len(tests) != 1:
            raise ValueError(f"{path} has {len(tests)} tests, name one: {', '.join(tests)}")
        test = next(iter(tests))
    if test not in tests:
        raise ValueError(f"{path} has no test {test!r}; there are {', '.join(tests)}")
    sent, said = tests[test]
    end = as_end(framing)
    steps, paired = _steps(sent, said, end)
    cannot_tell = (TIMES, f"{ORDER} (taken to be one each, in order)" if paired else ORDER)
    tell_loss(f"{path} [{test}]", cannot_tell)
    name = " ".join(test.split())
    steps = (Comment(f"{name}, recorded by pytest-reserial"), *steps)
    return Borrowed(Transcript(steps, end, end, None, str(path)), cannot_tell)


def reserial_tests(path: str | Path) -> dict[str, tuple[bytes, bytes]]:
    """The tests in a file: what each sent, and what it was told."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        whole = json.loads(text)
        rows = [(1, whole)]
    except ValueError:
        rows = [(number, _line(path, number, line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    tests: dict[str, tuple[bytes, bytes]] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        if not isinstance(row, dict):
            raise ValueError(f"{where}: pytest-reserial writes objects, not {type(row).__name__}")
        for test, log in row.items():
            if not isinstance(log, dict) or not {"rx", "tx"} <= log.keys():
                raise ValueError(f"{where}: the record of {test!r} has no rx and tx")
            tests[test] = _bytes(log, "tx", where), _bytes(log, "rx", where)
    if not tests:
        raise ValueError(f"{path} has no tests in it")
    return tests


def _line(path: str | Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}:{number}: this is no line of pytest-reserial's: {error}") from None


def _bytes(log: dict[str, Any], way: str, where: str) -> bytes:
    data, encoding = log[way], log.get(f"{way}_encoding", "base64")
    try:
        if isinstance(data, list):  # before version 0.4
            return bytes(data)
        if encoding == "utf-8":
            return str(data).encode()
        if encoding == "base64":
            return base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError(f"{where}: {way} cannot be read: {error}") from None
    raise ValueError(f"{where}: {way}_encoding is utf-8 or base64, not {encoding!r}")


def _steps(sent: bytes, said: bytes, end: bytes) -> tuple[tuple[Step, ...], bool]:
    """What happened, as far as can be guessed; and whether replies were paired with commands."""
    commands, replies = _messages(sent, end), _messages(said, end)
    asking = [command for command in commands if b"?" in command]
    answered = commands if len(replies) == len(commands) else asking if len(replies) == len(asking) else None
    if not replies or not commands or answered is None:
        first, rest = commands[:1], commands[1:]
        after = [Said(said)] if said else []
        return (*map(Sent, first), *after, *map(Sent, rest)), False
    left = iter(replies)
    steps: list[Step] = []
    for command in commands:
        steps.append(Sent(command))
        if answered is commands or b"?" in command:
            steps.append(Said(next(left)))
    return tuple(steps), True


def _messages(data: bytes, end: bytes) -> list[bytes]:
    if not end:
        return [data] if data else []
    *whole, rest = data.split(end)
    return [message + end for message in whole] + ([rest] if rest else [])
