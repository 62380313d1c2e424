"""Faults on their way to Rust."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from labtether import _core

if TYPE_CHECKING:
    from labtether.testing.faults import Fault

__all__ = ["core_faults"]


def core_faults(faults: Iterable[Fault], transport: str) -> list[_core.Fault]:
    """The faults of an instrument, checked. Raises ValueError for what cannot happen on its transport."""
    from labtether.testing.faults import Refuse, to_core

    cores = to_core(faults)
    if transport == "pty" and any(isinstance(fault, Refuse) for fault in faults):
        raise ValueError(
            "a pseudo-terminal cannot refuse to be opened: use transport='tcp', 'rfc2217' or 'memory', or disconnect()"
        )
    return cores
