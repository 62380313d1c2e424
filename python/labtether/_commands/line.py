"""What the commands share: the settings of a line, and the link that they describe."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

import labtether as lt
from labtether._escapes import BadEscape, unescaped

__all__ = ["SETTINGS", "line_arguments", "link_of", "settings_of", "terminator", "wrong"]

SETTINGS = ("baudrate", "bytesize", "parity", "stopbits", "terminator", "timeout")


def link_of(given: argparse.Namespace) -> lt.Link[Any]:
    """The link that the arguments describe, closed. Exits if they describe none."""
    settings = settings_of(given)
    if "terminator" in settings:
        settings["framing"] = settings.pop("terminator")
    make: Any = lt.link if "://" in given.port else lt.serial
    try:
        link: lt.Link[Any] = make(given.port, **settings)
    except (TypeError, ValueError) as error:
        wrong(given, error)
    return link


def settings_of(given: argparse.Namespace) -> dict[str, Any]:
    """Those of the line that were given."""
    return {name: getattr(given, name) for name in SETTINGS if getattr(given, name) is not None}


def wrong(given: argparse.Namespace, error: Exception) -> NoReturn:
    """What labtether rejects at the call is wrong usage; a reply that cannot be read is not."""
    if isinstance(error, lt.LinkError):
        raise error
    parser: argparse.ArgumentParser = given.parser
    parser.error(str(error))


def terminator(text: str) -> str:
    r"""The end of a message as a shell leaves it, such as `\r\n`, made into the characters it stands for."""
    try:
        return unescaped(text).decode("latin-1")
    except BadEscape as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def line_arguments() -> argparse.ArgumentParser:
    """The settings of a line, as a parent of the commands that have one."""
    line = argparse.ArgumentParser(add_help=False)
    settings = line.add_argument_group("the line", "without these: 9600 8N1, LF (a CR before it is dropped), 5 s")
    settings.add_argument("--baudrate", type=int, metavar="N")
    settings.add_argument("--bytesize", type=int, metavar="N", help="5, 6, 7 or 8")
    settings.add_argument("--parity", metavar="P", help="N, E, O, M or S")
    settings.add_argument("--stopbits", type=float, metavar="N", help="1, 1.5 or 2")
    settings.add_argument("--terminator", type=terminator, metavar="END", help=r"ends every message, such as '\r\n'")
    settings.add_argument("--timeout", type=float, metavar="S", help="seconds for a reply, from the first byte sent")
    return line
