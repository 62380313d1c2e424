"""How a nursery ends: one error of all that went wrong, with nothing lost and nothing twice."""

from __future__ import annotations

import anyio

from labtether import _core

__all__ = ["end_rust", "left", "parted"]


async def left(group: anyio.abc.TaskGroup, error: BaseException | None) -> BaseException | None:
    """Leave `group`, with `error` on its way: what is on its way afterwards."""
    try:
        swallowed = await group.__aexit__(
            None if error is None else type(error), error, None if error is None else error.__traceback__
        )
    except BaseException as raised:
        return raised
    return None if swallowed else error


def parted(
    ending: BaseException | None, cancelled: type[BaseException]
) -> tuple[list[BaseException], BaseException | None]:
    """What failed, taken out of the group that one of our task groups made of it, and the cancellation that is on its
    way. A child's own groups stay as they are."""
    if ending is None:
        return [], None
    if isinstance(ending, cancelled):
        return [], ending
    parts = ending.exceptions if isinstance(ending, BaseExceptionGroup) else (ending,)
    passing = [part for part in parts if isinstance(part, cancelled)]
    return [part for part in parts if not isinstance(part, cancelled)], passing[0] if passing else None


async def end_rust(
    supervisor: _core.Supervisor, name: str, ending: BaseException | None
) -> tuple[BaseException | None, list[BaseException]]:
    """Wait for the Rust children of nursery `name`: they are ordinary ones. What cut the wait short, for afterwards,
    and what failed among them."""
    interrupt: BaseException | None = None
    rows: list[tuple[str, BaseException]] | None = None
    if ending is not None:
        supervisor.cancel(f"{type(ending).__name__} in {name}", 0.0)
    supervisor.close()
    with anyio.CancelScope() as scope:
        while rows is None:
            try:
                rows = await supervisor.ended()
            except GeneratorExit:
                raise
            except BaseException as error:
                interrupt = error
                scope.shield = True
                supervisor.cancel("the scope around it was cancelled", 0.0)
    failures = []
    for child, failure in rows or []:
        failure.add_note(f"labtether: in the Rust child {child!r} of nursery {name!r}")
        failures.append(failure)
    return interrupt, failures
