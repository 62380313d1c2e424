"""A conversation that another program wrote down, and what it could not tell of it."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labtether.testing._transcript import Transcript

__all__ = ["Borrowed", "ReadingLoss", "as_end", "read_json", "tell_loss"]


class ReadingLoss(UserWarning):
    """What a file of another program cannot tell of the conversation it holds."""


@dataclass(frozen=True)
class Borrowed:
    """A conversation from another program's file.

    transcript: as far as it can be told. cannot_tell: what cannot, in words.
    """

    transcript: Transcript
    cannot_tell: tuple[str, ...]


_told: set[tuple[str, tuple[str, ...]]] = set()


def tell_loss(source: str, cannot_tell: tuple[str, ...]) -> None:
    """Warn of what is lost, once for each file."""
    if cannot_tell and (source, cannot_tell) not in _told:
        _told.add((source, cannot_tell))
        warnings.warn(f"{source} does not say {'; '.join(cannot_tell)}", ReadingLoss, stacklevel=3)


def as_end(framing: str | bytes | None) -> bytes:
    """What ends a message; b"" if it is not known."""
    if framing is None:
        return b""
    if not isinstance(framing, (str, bytes)):
        raise TypeError(f"framing is the end of a message, str or bytes, or None, not {type(framing).__name__}")
    return framing.encode("latin-1") if isinstance(framing, str) else framing


def read_json(path: str | Path) -> Any:
    """The JSON in a file. Raises ValueError that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: this is no JSON: {error}") from None
