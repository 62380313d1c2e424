"""A simulated instrument as a test sees it: where it is, what it has heard, what can be done to it. What it says is
decided elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import quote

import labtether as lt
from labtether import _core
from labtether._checks import check_name
from labtether._engine import ensure_started
from labtether._framing import Framed
from labtether._open import serial, tcp
from labtether._remote import rfc2217
from labtether._url import link as link_to

__all__ = ["HostSettings", "Make", "SimulatedInstrument", "Standing", "check_transport"]

HOST = "127.0.0.1"
TRANSPORTS = ("pty", "tcp", "rfc2217", "memory")

Make: TypeAlias = Callable[[str, str, str, int], _core.Simulation]
"""Puts an instrument where it is found: its name, the transport, a path for a pseudo-terminal, a port or 0."""


def check_transport(transport: str) -> str:
    """The name of a transport."""
    if not isinstance(transport, str):
        raise TypeError(f"transport is a str, not {type(transport).__name__}")
    if transport not in TRANSPORTS:
        raise ValueError(f"transport is one of {', '.join(map(repr, TRANSPORTS))}, not {transport!r}")
    return transport


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How a host has set its line, as the instrument's side sees it; pyserial's names and values.

    A pseudo-terminal has neither parity nor 7 bits, whatever the host asks for; RFC 2217 tells all.
    """

    baudrate: int
    bytesize: int
    parity: str
    stopbits: float
    xonxoff: bool
    rtscts: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand with an instrument.

    unread: what it said last and no host has read, as far as the system tells: of a pseudo-terminal and in memory.
    unread_reply: some of that answers a command. partial: what it has heard that is no whole command yet. owes: it has
    yet to say something that answers a command. connected: a cable is on (a network: a host is there).
    """

    unread: bytes
    unread_reply: bool
    partial: bytes
    owes: bool
    settings: HostSettings | None
    connected: bool


class SimulatedInstrument:
    """An instrument that is not there, at a real place: any serial library can be on the other end.

    Switched on when it is made, off by `stop()` or at the end of its `with` block. It serves one host at a time; over a
    network, whoever comes second is turned away. Where it is stays the same when it is unplugged and plugged in again.

    transport: "pty", a pseudo-terminal; "tcp" and "rfc2217", a port of this machine; "memory", for labtether's own
    links.
    """

    def __init__(self, make: Make, name: str, transport: str, framing: Framed | None, port: int = 0) -> None:
        """framing: the host's: what its commands and their replies end in."""
        self._simulation: _core.Simulation | None = None
        self._folder: str | None = None
        self.name = check_name(name, "name")
        self.transport = check_transport(transport)
        self.framing = framing
        self._path = ""
        ensure_started()
        if transport == "pty":
            self._folder = tempfile.mkdtemp(prefix="labtether-")
            self._path = os.path.join(self._folder, name.replace(os.sep, "_"))
        try:
            self._simulation = make(self.name, self.transport, self._path, port)
        except BaseException:
            self._tidy()
            raise
        self._number = self._simulation.port
        self._last: tuple[list[bytes], list[lt.TraceEvent], Standing] | None = None

    # -- where it is ---------------------------------------------------------------------------------------------------

    @property
    def port(self) -> str:
        """What pyserial's `serial_for_url` opens: a path, `socket://127.0.0.1:5025`, `rfc2217://127.0.0.1:2217`."""
        match self.transport:
            case "pty":
                return self._path
            case "tcp":
                return f"socket://{HOST}:{self._number}"
            case "rfc2217":
                return f"rfc2217://{HOST}:{self._number}"
        raise ValueError(f"{self.name} is in memory, where only links of labtether come: use link() or url")

    @property
    def url(self) -> str:
        """What `lt.link` opens."""
        match self.transport:
            case "pty":
                return f"serial://{quote(self._path)}"
            case "memory":
                return f"sim://{quote(self.name, safe='')}"
        return f"{self.transport}://{HOST}:{self._number}"

    @property
    def address(self) -> Any:
        """(host, port) of a network; the path of a pseudo-terminal."""
        return (HOST, self._number) if self.transport in ("tcp", "rfc2217") else self.port

    @property
    def resource(self) -> str:
        """What PyVISA's `ResourceManager("@py").open_resource` opens."""
        match self.transport:
            case "pty":
                return f"ASRL{self._path}::INSTR"
            case "tcp":
                return f"TCPIP::{HOST}::{self._number}::SOCKET"
        raise ValueError(f"PyVISA has no resource for {self.name} on {self.transport}: use pty or tcp")

    def link(self, **options: Any) -> lt.Link[Any]:
        """A closed link to it, with its framing unless `options` has another. `options` are those of the transport."""
        options.setdefault("framing", self.framing)
        options.setdefault("name", self.name)
        match self.transport:
            case "pty":
                return serial(self._path, **options)
            case "tcp":
                return tcp(HOST, self._number, **options)
            case "rfc2217":
                return rfc2217(HOST, self._number, **options)
        return link_to(self.url, **options)

    # -- what it has seen ----------------------------------------------------------------------------------------------

    @property
    def heard(self) -> list[Any]:
        """The commands it has heard, without what is around them: str where its framing decodes, else bytes. The last
        ten thousand."""
        encoding = self.framing.encoding if self.framing is not None else None
        return [command.decode(encoding, "replace") if encoding else command for command in self._heard()]

    def _heard(self) -> list[bytes]:
        return self._simulation.heard() if self._simulation is not None else self._kept()[0]

    @property
    def wire(self) -> list[lt.TraceEvent]:
        """What went over its wire, with times: ">" to the instrument, "<" from it, "!" what happened. The last ten
        thousand pieces, cut as they were read and written."""
        if self._simulation is None:
            return list(self._kept()[1])
        return [lt.TraceEvent(*row) for row in self._simulation.wire()]

    @property
    def settings(self) -> HostSettings | None:
        """How the host has set its line, or had when it was last there; None where there is no line to be set."""
        return self.standing().settings

    def standing(self) -> Standing:
        """How things stand with it now."""
        if self._simulation is None:
            return self._kept()[2]
        unread, reply, partial, owes, line, connected = self._simulation.standing()
        return Standing(unread, reply, partial, owes, HostSettings(*line) if line else None, connected)

    # -- what is done to it --------------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Pull the cable: the port goes away, the instrument itself goes on. Done when this returns."""
        self._running().disconnect()

    def reconnect(self) -> None:
        """Plug it in again, where it was."""
        self._running().reconnect()

    def power_cycle(self) -> None:
        """Switch it off and on: it forgets what it was about to say, and greets if it does."""
        self._running().power_cycle()

    def stop(self) -> None:
        """Switch it off. What it has heard can still be asked. May be called twice."""
        if self._simulation is None:
            return
        self._last = (self._heard(), self.wire, self.standing())
        simulation, self._simulation = self._simulation, None
        try:
            simulation.stop()
        finally:
            self._tidy()

    def _running(self) -> _core.Simulation:
        if self._simulation is None:
            raise lt.LinkClosed(f"the simulated instrument {self.name} has been stopped")
        return self._simulation

    def _kept(self) -> tuple[list[bytes], list[lt.TraceEvent], Standing]:
        assert self._last is not None
        return self._last

    def _tidy(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self._path if self.transport == "pty" else self.url
        off = ", off" if self._simulation is None else ""
        return f"<{type(self).__name__} {self.name} on {where}, {len(self._heard())} commands heard{off}>"


def serving(kind: Callable[..., _core.Simulation], *first: Any, faults: Sequence[_core.Fault] = ()) -> Make:
    """`kind` of a simulation with what comes first, as it is made."""

    def make(name: str, transport: str, path: str, port: int) -> _core.Simulation:
        return kind(*first, (name, transport, path, port, list(faults)))

    return make
