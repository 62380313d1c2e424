"""Scripted instruments at every place there is, what their check says, and waiting for what they do."""

import time
from collections.abc import Callable, Iterator

import pytest

from labtether.testing import ProtocolMismatch, ScriptedInstrument, script

TRANSPORTS = ["pty", "tcp", "rfc2217", "memory"]


@pytest.fixture(params=TRANSPORTS)
def psu(request: pytest.FixtureRequest) -> Iterator[ScriptedInstrument]:
    with script("psu", transport=request.param) as psu:
        yield psu


def wrong(psu: ScriptedInstrument) -> str:
    """What the check says."""
    with pytest.raises(ProtocolMismatch) as raised:
        psu.check()
    return str(raised.value)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens on another thread."""
    give_up = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)
