"""What a process holds open, by name, before and after: the leak gate's eyes."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from labtether import _core

__all__ = ["SOCKETPAIR", "Holding", "alive", "left_open"]

ENGINE = ("labtether", "labtether clerk")
"""Threads that start once, on first need, and live as long as the process. The kernel keeps 15 characters of a name."""

IDLE = ("Trio thread ",)
"""trio keeps an idle worker for ten seconds under this name; a busy one is called after what it does."""


SOCKETPAIR = "a pair of sockets"
"""What a descriptor of such a pair, as event loops have them, leads to."""


@dataclass(frozen=True)
class Holding:
    """What this process holds at one moment."""

    descriptors: Counter[str]
    """How many descriptors lead to each target. By target: a number may be used again for something else."""
    threads: dict[int, str]
    """Thread id to name, for every thread the kernel knows of."""
    objects: dict[int, str]
    """Python's own list of threads, by identity: a thread the engine attached would stay in it."""

    @staticmethod
    def now() -> Holding:
        """Look. Where the system does not tell (no /proc), it holds nothing that can be named."""
        descriptors: Counter[str] = Counter()
        for number in _listed("/proc/self/fd"):
            try:
                descriptors[_target(int(number))] += 1
            except OSError:
                continue  # the listing's own
        objects = {id(thread): thread.name for thread in threading.enumerate()}
        known = {thread.native_id: thread.name for thread in threading.enumerate()}
        threads: dict[int, str] = {}
        for task in _listed("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{task}/comm") as comm:
                    threads[int(task)] = known.get(int(task)) or comm.read().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
        return Holding(descriptors, threads, objects)

    def more_than(self, before: Holding) -> list[str]:
        """What is held now and was not before, one line each; empty if nothing."""
        more = [f"{count} x {target}" for target, count in sorted((self.descriptors - before.descriptors).items())]
        lasting = {name[:15] for name in ENGINE if name[:15] not in before.threads.values()}
        for task in sorted(self.threads.keys() - before.threads.keys()):
            name = self.threads[task]
            if name[:15] in lasting:
                lasting.discard(name[:15])  # once each
            elif not name.startswith(IDLE):
                more.append(f"thread {name!r}")
        for key in self.objects.keys() - before.objects.keys():
            name = self.objects[key]
            if not name.startswith(IDLE) and f"thread {name!r}" not in more:
                more.append(f"threading's record of {name!r}")
        return more


def _target(number: int) -> str:
    """Where a descriptor leads."""
    target = os.readlink(f"/proc/self/fd/{number}")
    if target.startswith("socket:"):
        with socket.socket(fileno=os.dup(number)) as end:
            if end.family == socket.AF_UNIX and not end.getsockname():
                return SOCKETPAIR
    return target


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def alive() -> dict[int, str]:
    """labtether's own: each task, thread, link and scope in the lifecycle, by number, with its name. Not the lifecycle
    itself, which begins with the first of them and stays."""
    return {number: f"{kind} {name}" for number, scope, kind, name, _age in _core.census() if scope is not None}


def left_open(before: Holding, patience: float = 2.0, but: Sequence[str] = ()) -> list[str]:
    """What is held beyond `before`, after garbage was collected and endings under way had `patience` seconds. but:
    lines with these words do not count."""

    def held() -> list[str]:
        return [line for line in Holding.now().more_than(before) if not any(word in line for word in but)]

    give_up = time.monotonic() + patience
    more = held()
    while more and time.monotonic() < give_up:
        gc.collect()
        more = held()
        if more:
            time.sleep(0.01)
    return more
