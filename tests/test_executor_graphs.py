"""A thousand random graphs of tasks on an `Executor`, against a plain recursive model."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labtether._executor import Executor, until_done
from support.executors import SOON


class Oops(Exception):
    """What a node that fails raises."""


@dataclass(frozen=True)
class Node:
    """Waits for earlier nodes, by groups one after the other, then for children that it submits itself."""

    groups: tuple[frozenset[int], ...]
    children: int
    fails: bool
    catches: bool
    plain: bool


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 8))):
        earlier = st.frozensets(st.integers(0, number - 1), max_size=3) if number else st.just(frozenset[int]())
        groups = tuple(draw(st.lists(earlier, max_size=2)))
        rare = st.sampled_from([False, False, False, True])
        node = Node(groups, draw(st.integers(0, 3)), draw(rare), draw(st.booleans()), draw(rare))
        nodes.append(node)
    return tuple(nodes)


def model(nodes: tuple[Node, ...], number: int) -> int:
    """What node `number` comes to, without any executor."""
    node, total = nodes[number], number
    if not node.plain:
        for group in node.groups:
            try:
                total += sum([model(nodes, other) for other in sorted(group)])
            except Oops:
                if not node.catches:
                    raise
                total += 1000
        total += sum(range(node.children))
    if node.fails:
        raise Oops
    return total


class Run:
    """One graph on one executor."""

    def __init__(self, nodes: tuple[Node, ...], executor: Executor) -> None:
        self.nodes, self.executor = nodes, executor
        self.futures: list[Future[Any]] = []
        for number, node in enumerate(nodes):
            self.futures.append(executor.submit(self.plain if node.plain else self.task, number))

    def plain(self, number: int) -> int:
        if self.nodes[number].fails:
            raise Oops
        return number

    def leaf(self, value: int) -> Generator[Any, None, int]:
        yield from until_done()
        return value

    def task(self, number: int) -> Generator[Any, None, int]:
        node, total = self.nodes[number], number
        for group in node.groups:
            try:
                total += sum((yield from until_done(self.futures[other] for other in sorted(group))))
            except Oops:
                if not node.catches:
                    raise
                total += 1000
        if node.children:
            total += sum(
                (yield from until_done([self.executor.submit(self.leaf, value) for value in range(node.children)]))
            )
        if node.fails:
            raise Oops
        return total


def outcome(future: Future[Any]) -> Any:
    return "failed" if isinstance(future.exception(SOON), Oops) else future.result(0)


def modelled(nodes: tuple[Node, ...], number: int) -> Any:
    try:
        return model(nodes, number)
    except Oops:
        return "failed"


QUICKLY = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("workers", [1, 3])
def test_every_graph_comes_to_what_the_model_says(workers: int) -> None:
    @given(graphs())
    @settings(QUICKLY, max_examples=500)
    def check(nodes: tuple[Node, ...]) -> None:
        run = Run(nodes, executor)
        try:
            executor.join(SOON)
        except* Oops:
            pass
        assert [outcome(future) for future in run.futures] == [modelled(nodes, n) for n in range(len(nodes))]
        assert not executor._pool.unfinished
        assert executor._pool.queue.empty()

    with Executor(workers) as executor:
        check()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_graph_ends_whatever_is_cancelled_meanwhile(workers: int) -> None:
    @given(graphs(), st.lists(st.integers(0, 7), max_size=4), st.booleans())
    @settings(QUICKLY, max_examples=250)
    def check(nodes: tuple[Node, ...], cancelled: list[int], shut_down: bool) -> None:
        with Executor(workers) as executor:
            run = Run(nodes, executor)
            for number in cancelled:
                if number < len(nodes):
                    run.futures[number].cancel()
            if shut_down:
                executor.shutdown(cancel_futures=True)
            assert not wait(run.futures, SOON).not_done
            for number, future in enumerate(run.futures):
                try:
                    value = future.result(0)
                except (CancelledError, Oops, RuntimeError):
                    continue  # RuntimeError: it would have submitted after the shutdown
                if not any(node.catches or node.fails for node in nodes):
                    assert value == modelled(nodes, number)
        assert not executor._pool.unfinished

    check()
