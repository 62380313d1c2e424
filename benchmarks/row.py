"""What a row is: subjects that are compared with each other, and the figures they are held against."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Subject:
    """One way of doing it. `key` names it to worker.py; None: the C program."""

    name: str
    key: str | None
    reach: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """Subjects that are compared with each other: the first is what the others are divided by."""

    key: str
    title: str
    subjects: tuple[Subject, ...]
    each: int
    unit: str = "query"
    line: str | None = None
    mode: str = "echo"
    ports: int = 1
    """Instruments for each subject; more than one: a bank, and `mode` is not looked at."""
    rounds: float = 1.0
    warm_up: int = 100
    cpu_per: int | None = 100_000
    by_rate: bool = False
    """The ratios are those of what is done in a second: more is better."""
    late: float | None = None
    """Seconds: what takes longer is late, and the share of those is what counts."""
    against: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())


UVLOOP, TRIO, ANYIO, SERIAL = ("uvloop",), ("trio",), ("anyio",), ("serial",)
FAST = ("serial_asyncio_fast",)
