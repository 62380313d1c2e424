"""The command line: `python -m labtether`, installed as `labtether`. Arguments, messages, exit statuses.

Exit status: 0 done; 1 the instrument, its port or the output failed; 2 wrong usage; 130 interrupted; 141 nobody reads
the output.
"""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import labtether as lt

__all__ = ["main"]

FAILED = 1
INTERRUPTED = 130  # as a shell reports SIGINT
UNREAD = 141  # as a shell reports SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in `arguments` (None: those of the process). Returns the exit status.

    What goes wrong outside of labtether is said on stderr, without a traceback.
    """
    told = _Told()
    logger = logging.getLogger("labtether")
    logger.addHandler(told)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return UNREAD
    except lt.LinkError as error:
        told.tell(str(error), *getattr(error, "__notes__", ()))
        return FAILED
    except OSError as error:  # the output is full, or there are no pseudo-terminals
        _forget_output()
        told.tell(str(error))
        return FAILED
    finally:
        logger.removeHandler(told)


def _run(arguments: Sequence[str] | None) -> int:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a reply may hold what this terminal cannot show
    try:
        given = _parser().parse_args(arguments)
        status = int(given.run(given))
    except SystemExit as end:  # after --help, --version and wrong usage
        status = int(end.code or 0)
    sys.stdout.flush()  # now, while a failure can still be told
    return status


def _forget_output() -> None:
    """Let the interpreter flush what is left into nothing, rather than complain on its way out."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)


class _Told(logging.Handler):
    """What went wrong, on stderr: errors, and warnings from the log. A lost link is both, and is told once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._once: set[str] = set()
        self._turn = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(record.getMessage())

    def tell(self, line: str, *notes: str) -> None:
        if sys.stderr is None:
            return  # print() would take the output instead
        with self._turn:
            if line not in self._once:
                self._once.add(line)
                print(f"labtether: {line}", file=sys.stderr)
            for note in notes:
                print("  " + note.replace("\n", "\n  "), file=sys.stderr)


# -- the commands ------------------------------------------------------------------------------------------------------


def _demo(given: argparse.Namespace) -> int:
    from labtether import _demo

    if given.port is None:
        idle = [flag for flag in ("command", *_SETTINGS) if getattr(given, flag) is not None]
        if idle:
            given.parser.error(f"--{idle[0]} is for a real instrument: give its --port too")
        logging.getLogger("labtether").setLevel(logging.ERROR)  # its cable is pulled on purpose
        return _demo.simulated()
    if given.command is None:
        given.parser.error("--port needs a --command: nothing is sent that you did not ask for")
    link = _link(given)
    try:
        status = _demo.real(link, given.command)
    except ValueError as error:
        _wrong(given, error)
    return status


def _ports(_given: argparse.Namespace) -> int:
    found = lt.ports()
    if not found:
        raise lt.LinkError("no serial ports found")
    print(*found, sep="\n")
    return 0


def _query(given: argparse.Namespace) -> int:
    link = _link(given)
    try:
        with link.sync as instrument:
            reply: str = instrument.query(given.command)
    except ValueError as error:
        _wrong(given, error)
    if given.raw and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.buffer.write(reply.encode("latin-1"))  # as it was decoded: every byte as it came
    else:
        print(reply)
    return 0


def _link(given: argparse.Namespace) -> lt.Link[Any]:
    """The link that the arguments describe, closed. Exits if they describe none."""
    settings = {name: getattr(given, name) for name in _SETTINGS if getattr(given, name) is not None}
    if "terminator" in settings:
        settings["framing"] = settings.pop("terminator")
    make: Any = lt.link if "://" in given.port else lt.serial
    try:
        link: lt.Link[Any] = make(given.port, **settings)
    except (TypeError, ValueError) as error:
        _wrong(given, error)
    return link


def _wrong(given: argparse.Namespace, error: Exception) -> NoReturn:
    """What labtether rejects at the call is wrong usage; a reply that cannot be read is not."""
    if isinstance(error, lt.LinkError):
        raise error
    parser: argparse.ArgumentParser = given.parser
    parser.error(str(error))


# -- the arguments -----------------------------------------------------------------------------------------------------

_SETTINGS = ("baudrate", "bytesize", "parity", "stopbits", "terminator", "timeout")
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


def _unescaped(text: str) -> str:
    r"""`text` with what a shell leaves as it is, such as `\r\n`, made into the characters it stands for."""

    def character(escape: re.Match[str]) -> str:
        code, letter = escape.groups()
        if code is None and letter not in _ESCAPES:
            raise argparse.ArgumentTypeError(f"there is no {escape.group()!r}; there are \\r \\n \\t \\0 \\xHH \\\\")
        return chr(int(code, 16)) if code is not None else _ESCAPES[letter]

    return re.sub(r"\\(?:x([0-9a-fA-F]{2})|(.?))", character, text, flags=re.DOTALL)


def _parser() -> argparse.ArgumentParser:
    line = argparse.ArgumentParser(add_help=False)
    settings = line.add_argument_group("the line", "without these: 9600 8N1, LF (a CR before it is dropped), 5 s")
    settings.add_argument("--baudrate", type=int, metavar="N")
    settings.add_argument("--bytesize", type=int, metavar="N", help="5, 6, 7 or 8")
    settings.add_argument("--parity", metavar="P", help="N, E, O, M or S")
    settings.add_argument("--stopbits", type=float, metavar="N", help="1, 1.5 or 2")
    settings.add_argument("--terminator", type=_unescaped, metavar="END", help=r"ends every message, such as '\r\n'")
    settings.add_argument("--timeout", type=float, metavar="S", help="seconds for a reply, from the first byte sent")

    parser = argparse.ArgumentParser("labtether", description="Talk to instruments over serial lines and TCP.")
    parser.add_argument("--version", action="version", version=f"labtether {lt.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    about = "one conversation with a simulated balance, step by step; or one question to a real instrument"
    demo = commands.add_parser("demo", parents=[line], help=about, description=f"Shows {about}.")
    demo.add_argument("--port", metavar="PORT", help="a real instrument: a path or a url")
    demo.add_argument("--command", metavar="S", help="what to ask it")
    demo.set_defaults(run=_demo, parser=demo)

    about = "list the serial ports, one on each line"
    ports = commands.add_parser("ports", help=about, description=f"{about.capitalize()}.")
    ports.set_defaults(run=_ports)

    about = "ask one thing and print the reply"
    query = commands.add_parser("query", parents=[line], help=about, description=f"{about.capitalize()}.")
    query.add_argument("port", metavar="PORT", help="/dev/ttyUSB0, tcp://host:5025, sim://balance, ...")
    query.add_argument(
        "command", metavar="COMMAND", help="what to ask, without terminator (after --, if it begins with -)"
    )
    query.add_argument("--raw", action="store_true", help="write the bytes of the reply and nothing else: no line end")
    query.set_defaults(run=_query, parser=query)
    return parser


if __name__ == "__main__":
    sys.exit(main())
