"""`labtether simulate`: the instrument that a file describes, at a port, for any program to talk to."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labtether._commands.files import file_arguments, reading
from labtether._commands.line import wrong
from labtether._escapes import escaped
from labtether._values import TraceEvent

if TYPE_CHECKING:
    from labtether.testing import SimulatedInstrument

__all__ = ["add"]

LOOK = 0.05
"""Seconds between two looks at the wire."""


def add(commands: Any) -> None:
    """Its arguments."""
    about = "serve the instrument of a transcript, a recording or a pyvisa-sim file"
    serve = commands.add_parser(
        "simulate",
        parents=[file_arguments()],
        help=about,
        description=f"{about.capitalize()} until Ctrl-C, and print the conversation. A recorded one is played in its "
        "order, and begins again after its end.",
    )
    serve.add_argument("--transport", default="pty", choices=("pty", "tcp", "rfc2217"), help="where it is found (pty)")
    serve.add_argument("--port", type=int, default=0, metavar="N", help="of tcp and rfc2217 (any that is free)")
    serve.add_argument("--pace", type=float, default=1.0, metavar="F", help="0: no pauses; 2: twice as long (1)")
    serve.set_defaults(run=_run, parser=serve)


def _run(given: argparse.Namespace) -> int:
    if given.port and given.transport == "pty":
        given.parser.error("--port is for --transport tcp and rfc2217")
    if not 0 <= given.port <= 65535:
        wrong(given, ValueError(f"--port is between 0 and 65535, not {given.port}"))
    if not 0 <= given.pace < float("inf"):
        wrong(given, ValueError(f"--pace is not negative: {given.pace}"))
    from labtether.testing import simulate

    with reading():
        instrument = simulate(
            given.file,
            device=given.device,
            framing=given.terminator,
            transport=given.transport,
            pace=given.pace,
            port=given.port,
        )
    with contextlib.suppress(KeyboardInterrupt), instrument:  # as it is ended
        print(f"{instrument.name} is at {instrument.port}", flush=True)
        for line in _conversation(instrument):
            print(line, flush=True)
    return 0


def _conversation(instrument: SimulatedInstrument) -> Iterator[str]:
    """What goes over its wire, as it goes, with seconds since the first of it."""
    from labtether.testing import ReplayedInstrument

    last: TraceEvent | None = None
    began, silent, followed = 0.0, False, 0
    while True:
        # First, so that what it tells of is on the wire by then.
        report = instrument.report() if isinstance(instrument, ReplayedInstrument) else None
        events = instrument.wire
        new = events if last is None else events[_after(events, last) :]
        for event in new:
            began = began or event.monotonic
            what = event.note if event.direction == "!" else escaped(event.data)
            yield f"{event.monotonic - began:10.3f} {event.direction} {what}"
        last = new[-1] if new else last
        if report is not None:
            if report.followed > followed:
                yield f"{'':10} ! the host has begun again, and is followed"
            if report.stray is not None and not silent:
                yield from (f"{'':10} ! {line}" for line in report.difference())
            silent, followed = report.stray is not None, report.followed
        time.sleep(LOOK)


def _after(events: list[TraceEvent], last: TraceEvent) -> int:
    """Where what came after `last` begins."""
    for place in range(len(events) - 1, -1, -1):
        if events[place] == last:
            return place + 1
    return 0
