"""Several pieces of work at once, without a nursery of one's own: `gather`, `race`, `outcomes`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from labtether._keeping import work_of
from labtether._outcome import Cancelled, Failed, Ok, Outcome
from labtether._strand import Strand, _strand

__all__ = ["gather", "outcomes", "race"]

T = TypeVar("T")

Work = Awaitable[Any] | Callable[[], Awaitable[Any]]


async def gather(*work: Work) -> list[Any]:
    """The values of all, in order; awaitables, or async functions without arguments.

    The first failure cancels the others; when all have ended, the failures are raised in an ExceptionGroup. If
    cancelled, all are, and are waited for.
    """
    jobs = _jobs(work)
    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(job.run)
    return [job.known().unwrap() for job in jobs]


async def outcomes(*work: Work) -> list[Outcome[Any]]:
    """How each ended, in order, as values: never raises for what they raise, and a failure leaves the others alone.

    If cancelled, all are, and are waited for; KeyboardInterrupt and SystemExit go on.
    """
    jobs = _jobs(work)
    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(job.run_quietly)
    return [job.known() for job in jobs]


async def race(*work: Work) -> Any:
    """The value of the first to finish; the others are cancelled and waited for.

    If the first to finish failed, its error is raised. What fails on being cancelled is raised too, then in an
    ExceptionGroup. If cancelled, all are.
    """
    if not work:
        raise ValueError("a race needs somebody to run")
    jobs = _jobs(work)
    first: list[_Job] = []
    async with anyio.create_task_group() as group:

        async def run(job: _Job) -> None:
            await job.run_quietly()
            if not first:
                first.append(job)
                group.cancel_scope.cancel("another was first")

        for job in jobs:
            group.start_soon(run, job)
    ended = [job.known() for job in jobs]
    failures = [outcome.error for outcome in ended if isinstance(outcome, Failed)]
    winner = first[0].known() if first else jobs[0].known()
    if len(failures) > 1 or (failures and isinstance(winner, Ok)):
        raise BaseExceptionGroup(f"{len(failures)} failures in a race", failures)
    return winner.unwrap()


def _jobs(work: tuple[Any, ...]) -> list[_Job]:
    """Checked before anything is started; what was handed in is closed if one of them is none."""
    for one in work:
        if not (inspect.isawaitable(one) or callable(one)):
            for other in work:
                if inspect.iscoroutine(other):
                    other.close()
            raise TypeError(f"this takes awaitables, or async functions without arguments, not {type(one).__name__}")
    return [_Job(one) for one in work]


class _Job(Strand):
    """One of them."""

    __slots__ = ("_outcome", "_parent", "_work")

    def __init__(self, work: Work) -> None:
        super().__init__(getattr(work, "__qualname__", type(work).__name__))
        self._work: Work | None = work
        self._parent = _strand.get()
        self._outcome: Outcome[Any] | None = None

    async def run(self) -> None:
        """To its end; its error goes on."""
        from labtether import _core

        _strand.set(self)
        try:
            work, self._work = self._work, None
            value = await (work if inspect.isawaitable(work) else work_of(work, (), {}))
        except BaseException as error:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                self._outcome = Cancelled("the others were stopped with it", self._effects, elapsed=self.age)
            else:
                self._outcome = Failed(error, elapsed=self.age)
            raise
        else:
            self._outcome = Ok(value, elapsed=self.age)
        finally:
            _core.let_go()
            if self._parent is not None:
                self._parent._add_effects(*self._effects)

    async def run_quietly(self) -> None:
        """To its end; an ordinary error is kept."""
        try:
            await self.run()
        except Exception:
            # Kept as the outcome, which is what is asked for.
            return

    def known(self) -> Outcome[Any]:
        """How it ended."""
        return Cancelled("it never began") if self._outcome is None else self._outcome
