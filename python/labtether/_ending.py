"""How a nursery ends: one error of all that went wrong, with nothing lost and nothing twice."""

from __future__ import annotations

import anyio

__all__ = ["flat", "left"]


async def left(group: anyio.abc.TaskGroup, error: BaseException | None) -> BaseException | None:
    """Leave `group`, with `error` on its way: what is on its way afterwards."""
    try:
        swallowed = await group.__aexit__(
            None if error is None else type(error), error, None if error is None else error.__traceback__
        )
    except BaseException as raised:
        return raised
    return None if swallowed else error


def flat(error: BaseException, ours: BaseException | None) -> list[BaseException]:
    """The failures in the groups that our task groups made of them; a child's own groups stay as they are."""
    if isinstance(error, BaseExceptionGroup) and (error is ours or error.message in _GROUPS):
        return [one for inner in error.exceptions for one in flat(inner, ours)]
    return [error]


_GROUPS = ("unhandled errors in a TaskGroup", "Exceptions from Trio nursery")
