"""Children started and joined: a scope, so many of them that do nothing, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from protocol import RUNNERS
from sides import rounds


async def child(ended: list[None]) -> None:
    ended.append(None)


def check_ended(ended: list[None], count: int) -> None:
    if len(ended) != count:
        raise SystemExit(f"{len(ended)} of {count} children ran")


async def task_group(count: int) -> None:
    ended: list[None] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(child(ended))
    check_ended(ended, count)


async def anyio_group(count: int) -> None:
    import anyio

    ended: list[None] = []
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(child, ended)
    check_ended(ended, count)


async def trio_nursery(count: int) -> None:
    import trio

    ended: list[None] = []
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(child, ended)
    check_ended(ended, count)


async def labtether_nursery(count: int) -> None:
    import labtether as lt

    ended: list[None] = []
    async with lt.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(child, ended)
    check_ended(ended, count)


def subject(runner: str, once: Callable[[int], Awaitable[None]]) -> None:
    RUNNERS[runner](partial(rounds, once))


CHILDREN: dict[str, Callable[[], None]] = {
    "children-TaskGroup-asyncio": partial(subject, "asyncio", task_group),
    "children-TaskGroup-uvloop": partial(subject, "uvloop", task_group),
    "children-anyio-asyncio": partial(subject, "asyncio", anyio_group),
    "children-anyio-trio": partial(subject, "trio", anyio_group),
    "children-trio": partial(subject, "trio", trio_nursery),
    **{f"children-labtether-{runner}": partial(subject, runner, labtether_nursery) for runner in RUNNERS},
}
