"""Cassettes: one test that talks to the real instrument, to its recording, or to neither, as each run chooses.

Only links of labtether are recorded: what another library says on a port of its own is not seen from here.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import labtether as lt
from labtether._checks import check_name
from labtether._link import Link
from labtether._recording import Recording
from labtether._url import link as link_to
from labtether.testing._recorded import Recorded, read_recording
from labtether.testing._replay import ReplayedInstrument

__all__ = ["MODES", "Cassette", "CassetteOff", "cassette", "cassette_file", "check_mode"]

MODES = ("replay", "record", "live", "off")
"""replay: the recording plays the instrument. record: the real one, recorded anew. live: the real one. off: neither."""

_TRANSPORTS = {"tcp": "tcp", "rfc2217": "rfc2217"}


class CassetteOff(Exception):
    """This run uses no instruments: the test is to be skipped."""


def check_mode(mode: str) -> str:
    """One of MODES."""
    if mode not in MODES:
        raise ValueError(f"instruments are one of {', '.join(MODES)}, not {mode!r}")
    return mode


def cassette_file(name: str, test_file: str | os.PathLike[str], test: str) -> Path:
    """Where the cassette of a test is kept: cassettes/FILE/TEST/NAME.jsonl beside the test's file."""
    file = Path(os.fspath(test_file))
    folder, name = (re.sub(r"[^\w.,=+-]+", "_", part).strip("._") or "_" for part in (test, name))
    return file.parent / "cassettes" / file.stem / folder / f"{name}.jsonl"


def cassette(
    name: str,
    live: str | None = None,
    *,
    path: str | os.PathLike[str],
    mode: str = "replay",
    transport: str | None = None,
    pace: float = 1.0,
) -> Cassette:
    """An instrument that is recorded once and played back from then on.

    live: where the real one is, as `lt.link` takes it. path: its recording. mode: see MODES. transport: where the
    played one is; None: as the real one was: a pseudo-terminal for a serial port, else TCP or RFC 2217. pace: see
    `replay`.

    Raises FileNotFoundError if there is nothing to be played yet, ValueError if there is no `live` to record or to use,
    CassetteOff.
    """
    check_mode(mode)
    check_name(name, "name")
    if mode == "off":
        raise CassetteOff(f"{name}: no instruments in this run (--instruments=off)")
    return Cassette(name, live, Path(os.fspath(path)), mode, transport, pace)


class Cassette:
    """One instrument of a test; see `cassette`. `link()` reaches it; its `with` block or `stop()` ends it."""

    def __init__(self, name: str, live: str | None, path: Path, mode: str, transport: str | None, pace: float) -> None:
        self.name = name
        self.mode = mode
        self.path = path
        self._live = live
        self._recording: Recording | None = None
        self._new = path.with_name(path.name + ".new")
        self._settings = "" if live is None else urlsplit(live).query
        self.replayed: ReplayedInstrument | None = None
        """The instrument that plays the recording; None where the real one is used."""
        if mode == "replay":
            recorded = _recorded(name, path)
            self.replayed = ReplayedInstrument(
                recorded, name=name, transport=transport or _transport(recorded), pace=pace
            )
        elif live is None:
            raise ValueError(f"{name}: to {mode} it, say where the real one is: cassette({name!r}, live=url)")

    @property
    def url(self) -> str:
        """What `lt.link` opens."""
        if self.replayed is None:
            assert self._live is not None
            return self._live
        # The same settings as of the real one: a test must not depend on where it runs.
        return f"{self.replayed.url}?{self._settings}" if self._settings else self.replayed.url

    @property
    def port(self) -> str:
        """What other libraries open: a path, or a url of pyserial's. What they say is not recorded: they can be used
        in the modes replay and live."""
        if self.replayed is not None:
            return self.replayed.port
        if self.mode == "record":
            raise ValueError(f"{self.name}: only links of labtether are recorded: use link()")
        parts = urlsplit(self.url)
        return parts.netloc + parts.path if parts.scheme == "serial" else f"{_PYSERIAL[parts.scheme]}://{parts.netloc}"

    def link(self, **options: Any) -> Link[Any]:
        """A closed link to the instrument; `options` as of `lt.link`. In the mode record all that goes over it is
        recorded, from its opening on; there is one such link."""
        link = link_to(self.url, **{"name": self.name, **options})
        if self.mode == "record":
            if self._recording is not None:
                raise ValueError(f"{self.name}: one link is recorded, and there is one already")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self._new.unlink()
            self._recording = link.record(self._new)
        return link

    def check(self) -> None:
        """Raise ProtocolMismatch unless the host has sent what it had when the cassette was recorded."""
        if self.replayed is not None:
            self.replayed.check()

    def stop(self, *, keep: bool = True) -> None:
        """Switch it off. keep: a new recording takes the place of the cassette; else it stays beside it, as `.new`.
        May be called twice."""
        if self.replayed is not None:
            self.replayed.stop()
        recording, self._recording = self._recording, None
        if recording is None:
            return
        recording.stop()
        if recording.dropped:
            raise lt.LinkError(f"{self.name}: the recording is not whole ({recording.dropped} events are missing)")
        if keep:
            os.replace(self._new, self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(keep=error is None)

    def __repr__(self) -> str:
        return f"<Cassette {self.name} {self.mode} {self.path}>"


_PYSERIAL = {"tcp": "socket", "rfc2217": "rfc2217"}


def _recorded(name: str, path: Path) -> Recorded:
    try:
        return read_recording(path)
    except FileNotFoundError as error:
        why = f"{name} has not been recorded: run the test once with --instruments=record and the instrument connected"
        raise FileNotFoundError(error.errno, why, str(path)) from None


def _transport(recorded: Recorded) -> str:
    return _TRANSPORTS.get(urlsplit(str(recorded.headers[0].get("url", ""))).scheme, "pty")
