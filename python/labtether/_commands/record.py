"""`labtether record`: a conversation with an instrument, from the keyboard or the command line, kept in a file."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import labtether as lt
from labtether._blocking import SyncLink
from labtether._commands.line import link_of, wrong
from labtether._escapes import BadEscape, escaped, unescaped

__all__ = ["add", "split"]

QUIET = 0.1
"""After the first message that answers a command, more of them are waited for that long."""

LOOK = 0.1
"""Seconds between two looks for Ctrl-C while the keyboard is waited for."""


def add(commands: Any, line: argparse.ArgumentParser) -> None:
    """Its arguments."""
    about = "record a conversation with an instrument"
    record: argparse.ArgumentParser = commands.add_parser(
        "record",
        parents=[line],
        help=about,
        description=f"{about.capitalize()}: each line that is typed is sent, what is heard is printed, and every byte "
        "of both is written to FILE with its time, until Ctrl-C or the end of the input. With COMMANDs, those are sent "
        "instead, each after the answer to the one before (or --timeout seconds). "
        r"Escapes: \r \n \t \0 \\ \xHH.",
    )
    record.usage = "labtether record [-h] [THE LINE] [--listen] --out FILE PORT [-- COMMAND ...]"
    record.add_argument("port", metavar="PORT", help="/dev/ttyUSB0, tcp://host:5025, ...")
    record.add_argument("--out", metavar="FILE", required=True, help="what it holds already stays: the new follows it")
    record.add_argument("--listen", action="store_true", help="send nothing")
    record.set_defaults(run=_run, parser=record)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments up to `--`, and the commands after it: argparse takes none of those behind an option."""
    if arguments[:1] != ["record"] or "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _run(given: argparse.Namespace) -> int:
    if given.listen and given.commands:
        given.parser.error("--listen sends nothing: leave the COMMANDs out")
    link = link_of(given).sync
    try:
        commands = [unescaped(command) for command in given.commands]
    except BadEscape as error:
        wrong(given, error)
    with link.record(given.out) as recording:
        try:
            with contextlib.suppress(KeyboardInterrupt), link:  # as it is ended
                _converse(link, given, commands)
        except ValueError as error:
            wrong(given, error)
    print(f"{recording.events} events in {given.out}")
    return 0


def _converse(link: SyncLink[Any], given: argparse.Namespace, commands: list[bytes]) -> None:
    if given.listen:
        with _printing(link) as over:
            over.wait()
    elif commands or not sys.stdin.isatty():
        for command in commands or (unescaped(line.rstrip("\n")) for line in sys.stdin):
            print(f"> {escaped(command)}", flush=True)
            _ask(link, command, given.timeout)
    else:
        with _printing(link) as over:
            for text in over.lines(sys.stdin.fileno()):
                try:
                    link.send(unescaped(text))
                except ValueError as error:
                    if isinstance(error, lt.LinkError):
                        raise
                    print(f"not sent: {error}", flush=True)


def _ask(link: SyncLink[Any], command: bytes, timeout: float | None) -> None:
    """Send it, and print what answers it: silence is an answer, too."""
    link.send(command)
    wait = timeout
    while True:
        try:
            _print(link.receive(timeout=wait))
        except lt.LinkTimeout:
            return
        wait = QUIET


def _print(message: str | bytes) -> None:
    data = message.encode("latin-1") if isinstance(message, str) else message
    print(f"< {escaped(data)}", flush=True)


class _Over:
    """Wakes who waits for the keyboard when there is nobody to talk to any more."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.failed: BaseException | None = None

    def set(self) -> None:
        """There is not."""
        os.write(self._writer, b"!")

    def close(self) -> None:
        """Nobody waits any more."""
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, *numbers: int) -> bool:
        """Until there is not, or one of these can be read; whether there is not."""
        ready: list[int] = []
        while not ready:
            # Ctrl-C in the instant before it begins to wait would not end the wait.
            ready, _, _ = select.select([self._reader, *numbers], [], [], LOOK)
        return self._reader in ready

    def lines(self, keyboard: int) -> Iterator[str]:
        """The lines that are typed, each as soon as it is."""
        typed = b""
        while not self.wait(keyboard):
            part = os.read(keyboard, 4096)
            *lines, typed = (typed + part).split(b"\n")
            for line in lines:
                yield line.decode(errors="surrogateescape")
            if not part:
                return


@contextlib.contextmanager
def _printing(link: SyncLink[Any]) -> Iterator[_Over]:
    """Print what is heard, from another thread, until the end of the block. What ended the link is raised."""
    over = _Over()
    with link.messages() as heard:

        def listen() -> None:
            try:
                for message in heard:
                    _print(message)
            except BaseException as error:
                over.failed = error
            finally:
                over.set()

        thread = threading.Thread(target=listen, name="labtether record", daemon=True)
        thread.start()
        failed = None
        try:
            yield over
            failed = over.failed
        finally:
            link.stop()  # which ends the thread
            thread.join()
            over.close()
        if failed is not None:
            raise failed
