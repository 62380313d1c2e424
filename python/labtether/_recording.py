"""Recordings: what goes over a link, kept in a file from which it can be read, shown and played again.

The file is JSON, one object a line, only ever added to, and whole up to its last line whatever ends the process:

    {"labtether": 1, "link": "psu", "url": "serial:///dev/ttyUSB0?baudrate=9600", "started": "2026-11-21T15:30...", ...}
    {"t":0.000213,"dir":">","b64":"KklETj8K","txt":"*IDN?\\n"}
    {"t":0.014871,"dir":"<","b64":"QUNNRSxQU1UsMS4wCg==","txt":"ACME,PSU,1.0\\n"}
    {"t":9.120000,"dir":"!","txt":"closed: it was stopped"}

`t`: seconds since the header's time. `dir`: ">" to the instrument, "<" from it, "!" something that happened to the
link. `b64`: the bytes. `txt`: the same for people (one character each), or what happened. A file may hold several
recordings, each with its header. Rust writes it; `labtether.testing.read_recording` reads it.
"""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any, Self

from labtether import _core
from labtether._errors import CleanupTimeout
from labtether._framing import Framed, Lines

__all__ = ["Recording", "begin_recording", "header_of"]


class Recording:
    """What goes over a link, being written to a file; made by `link.record(path)`. `with` it, or `stop()` it.

    It ends with `stop()`, or with the link object; not with the link's own `stop()`, so that what is set up again goes
    on in the same file. A file that fails (a full disk) ends it, and never the link: that is in the log at once, and
    `stop()` raises it.
    """

    __slots__ = ("_core", "_name", "_path", "_told")

    def __init__(self, core: _core.Recording, name: str, path: str) -> None:
        self._core = core
        self._name = name
        self._path = path
        self._told = False

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    @property
    def state(self) -> str:
        """ "recording", "stopped" or "failed"."""
        return self._core.tally()[0]

    @property
    def events(self) -> int:
        """How many events have been written."""
        return self._core.tally()[1]

    @property
    def dropped(self) -> int:
        """How many events are missing because the file took them too slowly; it says where."""
        return self._core.tally()[3]

    @property
    def error(self) -> OSError | None:
        """Why it failed, or None."""
        failed = self._core.failed()
        if failed is None:
            return None
        number, words = failed
        return OSError(words) if number is None else OSError(number, os.strerror(number), self._path)

    def stop(self) -> None:
        """End it; all that has happened until now is in the file then. May be called twice.

        Raises the OSError that ended it, once, if its file failed; CleanupTimeout if the file does not take what is
        left within two seconds. Waits without an event loop: a file is quick, or something is wrong.
        """
        try:
            self._core.stop()
        except TimeoutError as error:
            raise CleanupTimeout(f"{self._name}: the recording to {self._path}: {error}", link=self._name) from None
        failure = None if self._told else self.error
        self._told = True
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except (OSError, CleanupTimeout) as failure:
            if error is None:
                raise
            error.add_note(f"and the recording of {self._name} failed: {failure}")

    def __repr__(self) -> str:
        state, events, size, dropped = self._core.tally()
        parts = [f"{events} event{'' if events == 1 else 's'}", f"{size} byte{'' if size == 1 else 's'}"]
        if dropped:
            parts.append(f"{dropped} dropped")
        return f"<Recording of {self._name} to {self._path} {state}, {', '.join(parts)}>"


def begin_recording(wire: _core.Wire, path: str | os.PathLike[str], about: dict[str, Any]) -> Recording:
    """Open the file, write its header and let Rust write the rest."""
    import json
    from datetime import UTC, datetime

    file = os.fspath(path)
    if not isinstance(file, str):
        raise TypeError(f"path is a str or a path, not {type(path).__name__}")
    now = time.time()
    header = {
        "labtether": 1,
        **about,
        "started": datetime.fromtimestamp(now, UTC).isoformat(),
        "epoch": now,
        "version": _core.__version__,
    }
    return Recording(_core.record(wire, file, json.dumps(header)), about["link"], file)


def header_of(*, name: str, url: str, described: str, state: str, framing: Framed | None) -> dict[str, Any]:
    """What a recording's first line says of its link."""
    about = {"link": name, "url": url, "line": described, "state": state, "framing": None}
    if framing is not None:
        about["framing"] = repr(framing)
    ends = _ends(framing)
    return about if ends is None else {**about, "ends": ends}


def _ends(framing: Framed | None) -> dict[str, Any] | None:
    """Where messages end on the wire, each way, if that is at terminators and nothing else."""
    if not isinstance(framing, Lines) or framing.count != 1 or framing.escape is not None:
        return None
    sent = framing.terminators[0] if framing.send_terminator is None else framing.send_terminator
    return {">": sent.decode("latin-1"), "<": [end.decode("latin-1") for end in framing.terminators]}
