"""The command line: `python -m labtether`, installed as `labtether`. Messages, exit statuses, and the short commands;
the longer ones are in `_commands`.

Exit status: 0 done; 1 the instrument, its port, a file or the output failed; 2 wrong usage; 130 interrupted (what goes
on until it is interrupted is done: 0); 141 nobody reads the output.
"""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
import threading
from collections.abc import Sequence

import labtether as lt
from labtether._commands import record, simulate, transcript
from labtether._commands.files import BadFile
from labtether._commands.line import SETTINGS, line_arguments, link_of, wrong

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
    except OSError as error:  # the output is full, a file cannot be read, or there are no pseudo-terminals
        _forget_output()
        told.tell(str(error))
        return FAILED
    except BadFile as error:
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
        options, commands = record.split(sys.argv[1:] if arguments is None else arguments)
        given = _parser().parse_args(options, argparse.Namespace(commands=commands))
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
        idle = [flag for flag in ("command", *SETTINGS) if getattr(given, flag) is not None]
        if idle:
            given.parser.error(f"--{idle[0]} is for a real instrument: give its --port too")
        logging.getLogger("labtether").setLevel(logging.ERROR)  # its cable is pulled on purpose
        return _demo.simulated()
    if given.command is None:
        given.parser.error("--port needs a --command: nothing is sent that you did not ask for")
    link = link_of(given)
    try:
        status = _demo.real(link, given.command)
    except ValueError as error:
        wrong(given, error)
    return status


def _ports(_given: argparse.Namespace) -> int:
    found = lt.ports()
    if not found:
        raise lt.LinkError("no serial ports found")
    print(*found, sep="\n")
    return 0


def _query(given: argparse.Namespace) -> int:
    link = link_of(given)
    try:
        with link.sync as instrument:
            reply: str = instrument.query(given.command)
    except ValueError as error:
        wrong(given, error)
    if given.raw and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.buffer.write(reply.encode("latin-1"))  # as it was decoded: every byte as it came
    else:
        print(reply)
    return 0


# -- the arguments -----------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    line = line_arguments()
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

    record.add(commands, line)
    transcript.add(commands)
    simulate.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
