"""What the commands share that read conversations from files."""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Iterator

from labtether._commands.line import terminator

__all__ = ["BadFile", "file_arguments", "reading"]


def file_arguments() -> argparse.ArgumentParser:
    """A file with a conversation in it, as a parent of the commands that have one."""
    files = argparse.ArgumentParser(add_help=False)
    files.add_argument(
        "file",
        metavar="FILE",
        help="a transcript, a recording, or a file of pyvisa-sim, pytest-reserial or PyLabRobot",
    )
    files.add_argument("--device", metavar="NAME", help="which one, where the file has several devices or tests")
    files.add_argument(
        "--terminator",
        type=terminator,
        metavar="END",
        help=r"ends every message, such as '\r\n', if FILE does not say it",
    )
    return files


class BadFile(Exception):
    """A file that is not what it is taken for."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """What a file cannot tell comes in a line on stderr rather than as a warning; what is wrong with it as BadFile."""
    from labtether.testing.readers import ReadingLoss

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ReadingLoss)
        try:
            yield
        except (ValueError, ImportError) as error:
            raise BadFile(str(error)) from error
    for one in caught:
        if issubclass(one.category, ReadingLoss):
            print(f"labtether: {one.message}", file=sys.stderr)
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
