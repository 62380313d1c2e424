"""PyMeasure's pairs: `comm_pairs` of `expected_protocol`, such as its Generator writes into tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from labtether.testing._transcript import Said, Sent, Step, Transcript
from labtether.testing.readers._borrowed import as_end

__all__ = ["Pair", "from_pairs"]

Pair: TypeAlias = tuple[str | bytes | None, str | bytes | None]


def from_pairs(pairs: Iterable[Pair], *, framing: str | bytes = "\n", name: str | None = None) -> Transcript:
    """The conversation that `pairs` of what is sent and what is said to it describe: `[("VOLT?", "1.2"), ("OUTP ON",
    None), (None, "ALARM")]`, without the ends of messages, which are `framing`."""
    end = as_end(framing)
    steps: list[Step] = []
    for pair in pairs:
        try:
            sent, said = pair
        except (TypeError, ValueError):
            raise TypeError(f"a pair is what is sent and what is said, not {pair!r}") from None
        if sent is not None:
            steps.append(Sent(_bytes(sent) + end))
        if said is not None:
            steps.append(Said(_bytes(said) + end))
    return Transcript(tuple(steps), end, end, name)


def _bytes(message: str | bytes) -> bytes:
    if not isinstance(message, (str, bytes)):
        raise TypeError(f"a message is str, bytes or None, not {type(message).__name__}")
    return message.encode() if isinstance(message, str) else bytes(message)
