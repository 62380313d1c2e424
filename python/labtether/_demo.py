"""`labtether demo`: one conversation, step by step, each with the time it took, and a count of what it left open.

The conversation is what any user could write; only the counting looks behind the scenes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import anyio

import labtether as lt
from labtether._engine import ensure_started
from labtether.testing import SimulatedInstrument, balance

__all__ = ["real", "simulated"]

MARGIN = " " * 13


class _Unexpected(Exception):
    """The demonstration showed something that should not be."""


def simulated() -> int:
    """Talk to a simulated balance. Returns the exit status."""
    print(f"labtether {lt.__version__} talks to a simulated balance: each step, and the time it took\n", flush=True)

    def conversation() -> None:
        with _step() as say:
            instrument = balance()
            say(f"switched on a simulated balance, on pseudo-terminal {os.path.realpath(instrument.port)}")
        with instrument:
            tasks.extend(asyncio.run(_counting_tasks(_converse(instrument))))
        
    tasks: list[int] = []
    return _leaving_nothing(conversation, tasks)
