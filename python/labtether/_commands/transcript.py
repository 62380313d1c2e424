"""`labtether transcript`: a recording, or another program's file, as a transcript, or as a ready test."""

from __future__ import annotations

import argparse
from typing import Any

from labtether._commands.files import file_arguments, reading

__all__ = ["add"]

GRAMMAR = r"""A transcript is text, a line for each thing that happens:
  > *IDN?                the host sends this
  < ACME,PSU,1.0         the instrument says this
  ~ 300ms                silence before what follows: 300ms, 2s, 1m
  # words                a comment
  = framing "\r\n"       every message ends in CR LF; it is added, unless the line ends in \
  = framing > "\r" < "\n"  what is sent ends in CR, what is said in LF
  = name psu             the instrument's
Escapes: \r \n \t \0 \\ \xHH. Without a framing, what is written is what goes on the wire.
"""


def add(commands: Any) -> None:
    """Its arguments."""
    about = "print a recording as a transcript, or as a test"
    transcript = commands.add_parser(
        "transcript",
        parents=[file_arguments()],
        help=about,
        description=f"{about.capitalize()}.\n\n{GRAMMAR}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    transcript.add_argument("--pytest", action="store_true", help="print a file for pytest, to be changed into a test")
    transcript.add_argument(
        "--pause", type=float, default=0.02, metavar="S", help="seconds of silence that are worth telling (0.02)"
    )
    transcript.set_defaults(run=_run, parser=transcript)


def _run(given: argparse.Namespace) -> int:
    from labtether.testing._ready_test import ready_test
    from labtether.testing._sources import as_transcript, load
    from labtether.testing.readers import VisaDevice

    if not 0 <= given.pause < float("inf"):
        given.parser.error(f"--pause is not negative: {given.pause}")
    with reading():
        found = load(given.file, device=given.device, framing=given.terminator)
        if isinstance(found, VisaDevice):
            raise ValueError(f"{given.file} describes devices, not a conversation: see labtether simulate")
        written = as_transcript(found, pause=given.pause)
    print(ready_test(written) if given.pytest else written, end="")
    return 0
