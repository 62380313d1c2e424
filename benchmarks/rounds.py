"""Interleaved rounds and what is made of them. Knows nothing of what the subjects do."""

from __future__ import annotations

import contextlib
import random
import statistics
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

# A subject that takes longer than this for a round has failed.
PATIENCE = 120.0


class SubjectFailed(Exception):
    """A subject's process ended, or gave no answer."""


@dataclass(frozen=True)
class Sample:
    """One round of one subject; nanoseconds."""

    cpu: int
    done: int
    times: list[int]

    @property
    def median(self) -> float:
        return statistics.median(self.times)


class Worker:
    """A subject's process. It answers each count with one line, and stands still in between."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def round(self, count: int) -> Sample:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            raise SubjectFailed(f"{self.name}: its process ended with {process.wait()}")
        cpu, done, *times = map(int, line.split())
        return Sample(cpu, done, times)

    def end(self) -> None:
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Measured:
    """All rounds of all subjects of a row, by name; a failed subject has none."""

    samples: dict[str, list[Sample]]
    failed: dict[str, str] = field(default_factory=dict)

    def ratio(self, name: str, base: str) -> float | None:
        """Median over rounds of (median of `name` / median of `base` in the same round)."""
        pairs = list(zip(self.samples.get(name, []), self.samples.get(base, []), strict=False))
        return statistics.median(one.median / other.median for one, other in pairs) if pairs else None

    def times(self, name: str) -> list[int]:
        return sorted(time for sample in self.samples[name] for time in sample.times)

    def median(self, name: str) -> float:
        return statistics.median(self.times(name))

    def percentile(self, name: str, percent: float) -> float:
        times = self.times(name)
        return times[min(len(times) - 1, int(len(times) * percent / 100))]

    def cpu(self, name: str) -> float:
        """Nanoseconds of the process's CPU time for one operation, all threads."""
        samples = self.samples[name]
        return sum(sample.cpu for sample in samples) / sum(sample.done for sample in samples)


def interleave(
    commands: dict[str, list[str]],
    *,
    rounds: int,
    each: int,
    warm_up: int,
    shuffle: random.Random,
    tell: Callable[[str], None],
) -> Measured:
    """Every subject once in each round, in an order that is shuffled anew each time. The warm-up is not counted."""
    measured = Measured({name: [] for name in commands})
    workers = {name: Worker(name, command) for name, command in commands.items()}
    try:
        for number in range(-1, rounds):
            tell(f"round {number + 1} of {rounds}")
            order = list(workers)
            shuffle.shuffle(order)
            for name in order:
                try:
                    sample = workers[name].round(warm_up if number < 0 else each)
                except SubjectFailed as failure:
                    measured.failed[name] = str(failure)
                    measured.samples[name] = []
                    workers.pop(name).end()
                else:
                    if number >= 0:
                        measured.samples[name].append(sample)
    finally:
        for worker in workers.values():
            worker.end()
    return measured
