"""PyLabRobot's captures: every transfer of a run, in order, for all devices in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labtether.testing._transcript import Comment, Said, Sent, Step, Transcript
from labtether.testing.readers._borrowed import Borrowed, as_end, read_json, tell_loss

__all__ = ["read_pylabrobot"]

_AS_TEXT = ("serial", "usb")
"""Modules that wrote what they transferred as text, through the codec `unicode_escape`; the others write hex."""
TIMES = "when anything was sent or said"
UNASKED = "what was said and never read"
BACKSLASHES = (
    "what its backslashes were: it writes r'\\n' as a line feed, r'\\x41' as 'A', and two of them as one "
    "({count} left in it)"
)


def read_pylabrobot(path: str | Path, device: str | None = None, *, framing: str | bytes | None = None) -> Borrowed:
    """The transfers of one device in a capture of PyLabRobot.

    device: its `device_id`, such as "/dev/ttyUSB0"; None if there is only one. framing: what ends a message, for
    showing it; None: each transfer is one.

    Raises OSError, ValueError for what is no such file, or if there are several devices and none is named.
    """
    rows = _rows(path)
    devices = list(dict.fromkeys(str(row["device_id"]) for _, row in rows))
    if device is None:
        if len(devices) != 1:
            raise ValueError(f"{path} has {len(devices)} devices, name one: {', '.join(devices)}")
        device = devices[0]
    if device not in devices:
        raise ValueError(f"{path} has no device {device!r}; there are {', '.join(devices)}")
    end = as_end(framing)
    steps: list[Step] = [Comment(f"{' '.join(device.split())}, captured by PyLabRobot")]
    backslashes = 0
    for where, row in rows:
        if str(row["device_id"]) != device:
            continue
        action, as_text = str(row["action"]), row["module"] in _AS_TEXT
        text = str(row.get("data", ""))
        if action == "write" or action.startswith("read"):
            data = _bytes(text, as_text, where)
            backslashes += text.count("\\") if as_text else 0
            if data:
                steps.append(Sent(data) if action == "write" else Said(data))
        else:
            steps.append(Comment(" ".join(f"{action} {text}".split())))
    lossy = (BACKSLASHES.format(count=backslashes),) if backslashes else ()
    cannot_tell = (TIMES, UNASKED, *lossy)
    tell_loss(f"{path} [{device}]", cannot_tell)
    return Borrowed(Transcript(tuple(steps), end, end, None, str(path)), cannot_tell)


def _rows(path: str | Path) -> list[tuple[str, dict[str, Any]]]:
    whole = read_json(path)
    commands = whole.get("commands") if isinstance(whole, dict) else None
    if not isinstance(commands, list) or not commands:
        raise ValueError(f'{path}: a capture of PyLabRobot is {{"version": ..., "commands": [...]}}')
    rows = []
    for number, row in enumerate(commands, 1):
        where = f"{path}: command {number}"
        if not isinstance(row, dict) or not {"module", "device_id", "action"} <= row.keys():
            raise ValueError(f"{where} has no module, device_id and action")
        rows.append((where, row))
    return rows


def _bytes(text: str, as_text: bool, where: str) -> bytes:
    try:
        return text.encode("latin-1") if as_text else bytes.fromhex(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} holds {text[error.start]!r}, which never was a byte") from None
    except ValueError as error:
        raise ValueError(f"{where} is no hex: {error}") from None
