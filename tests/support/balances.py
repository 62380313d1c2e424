"""Fixtures: the simulated balance, and a second one. Not in `scales.py`, which kernels import too."""

from collections.abc import Iterator

import pytest

from labtether.testing import ScriptedInstrument
from support.scales import balance

__all__ = ["other", "told"]


@pytest.fixture
def told() -> Iterator[ScriptedInstrument]:
    """A balance."""
    with balance() as told:
        yield told


@pytest.fixture
def other() -> Iterator[ScriptedInstrument]:
    """And another."""
    with balance("other") as told:
        yield told
