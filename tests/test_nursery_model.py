"""Random programs of spawn, nest, finish, fail, cancel and deadline, run against a small model of what must come of
them, on all three backends. Each step is waited for, so that what is expected never depends on time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labtether as lt
from conftest import BACKENDS
from support.nurseries import Oops, in_time, leaves, nothing_left, settled, until

KINDS = ["spawn", "spawn stubborn", "nest", "finish", "fail", "cancel leaf", "cancel nest", "cancel nursery", "expire"]

# -- The model ---------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Leaf:
    """A child that waits to be told. A stubborn one fails on being cancelled."""

    name: str
    parent: Nest | None
    stubborn: bool = False
    outcome: str | None = None
    failures: list[str] = field(default_factory=list)
    """Which errors its own one consists of, by name."""

    def cancel(self) -> None:
        if self.outcome is None:
            self.outcome = "failed" if self.stubborn else "cancelled"
            self.failures = [f"{self.name} cleanup"] if self.stubborn else []


@dataclass(eq=False)
class Nest(Leaf):
    """A nursery, in a child of the one around it. It ends when its children have."""

    children: list[Leaf] = field(default_factory=list)

    def alive(self) -> list[Leaf]:
        return [child for child in self.children if child.outcome is None]

    def cancel(self) -> None:
        if self.outcome is None:
            self.end("cancelled")

    def end(self, outcome: str, failure: str | None = None) -> None:
        """All in it are cancelled; it ends so, unless something failed."""
        for child in self.alive():
            child.cancel()
        self.failures = [name for child in self.children for name in child.failures]
        if failure is not None and not self.failures:
            self.failures = [failure]
        self.outcome = "failed" if self.failures else outcome


def settle(node: Leaf) -> None:
    """`node` has ended: what that means for the nursery around it."""
    parent = node.parent
    if parent is None or parent.outcome is not None:
        return
    if node.outcome == "failed":
        parent.end("failed")
        settle(parent)
    elif not parent.alive():
        parent.end("ok")
        settle(parent)


def everyone(nest: Nest) -> Iterator[Leaf]:
    for child in nest.children:
        yield child
        if isinstance(child, Nest):
            yield from everyone(child)


# -- The real thing ----------------------------------------------------------------------------------------------------


class Reality:
    """The same on real nurseries."""

    def __init__(self) -> None:
        self.orders: dict[str, str] = {}
        self.told: dict[str, anyio.Event] = {}
        self.handles: dict[str, lt.Handle[Any]] = {}
        self.nurseries: dict[str, lt.Nursery] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def leaf(self, node: Leaf) -> str:
        self.told[node.name] = anyio.Event()
        try:
            await self.told[node.name].wait()
        except BaseException:
            if node.stubborn:
                raise Oops(f"{node.name} cleanup") from None
            raise
        if self.orders[node.name] == "fail":
            raise Oops(node.name)
        return node.name

    async def nest(self, node: Nest) -> str:
        with anyio.CancelScope() as scope:
            self.scopes[node.name] = scope
            async with lt.open_nursery(node.name) as nursery:
                self.nurseries[node.name] = nursery
                for child in node.children:
                    self.start(child)
        if scope.cancelled_caught:
            raise Oops(f"{node.name} expired")
        return node.name

    def start(self, node: Leaf) -> None:
        assert node.parent is not None
        nursery = self.nurseries[node.parent.name]
        work = self.nest if isinstance(node, Nest) else self.leaf
        self.handles[node.name] = nursery.start_soon(work, node, name=node.name)

    async def agree(self, root: Nest) -> None:
        """Wait until all have ended that should have; nobody else must have."""
        nodes = list(everyone(root))
        ended = [node for node in nodes if node.outcome is not None]
        await until(
            lambda: all(node.name in self.handles and self.handles[node.name].done for node in ended),
            lambda: [node.name for node in ended if not self.handles[node.name].done],
        )
        alive = [node for node in nodes if node.outcome is None]
        begun: list[dict[str, Any]] = [self.nurseries, self.told]
        await until(lambda: all(node.name in begun[not isinstance(node, Nest)] for node in alive))
        await settled()
        assert [node.name for node in alive if self.handles[node.name].done] == []

    async def check(self, root: Nest) -> None:
        for node in everyone(root):
            match await self.handles[node.name].outcome():
                case lt.Ok(value):
                    assert (node.outcome, value) == ("ok", node.name)
                case lt.Cancelled():
                    assert node.outcome == "cancelled", node
                case lt.Failed(error):
                    assert (node.outcome, names(error)) == ("failed", sorted(node.failures))


def names(error: BaseException) -> list[str]:
    return sorted(str(leaf) for leaf in leaves(error))


def perform(kind: str, pick: int, number: int, root: Nest, reality: Reality) -> None:
    """One step, of the model and of reality."""
    alive = [node for node in everyone(root) if node.outcome is None]
    nests = [root, *(node for node in alive if isinstance(node, Nest))]
    inner = nests[1:]
    plain = [node for node in alive if not isinstance(node, Nest)]
    match kind:
        case "spawn" | "spawn stubborn":
            parent = nests[pick % len(nests)]
            leaf = Leaf(f"leaf {number}", parent, stubborn=kind == "spawn stubborn")
            parent.children.append(leaf)
            reality.start(leaf)
        case "nest":
            parent = nests[pick % len(nests)]
            nest = Nest(f"nest {number}", parent)
            nest.children.append(Leaf(f"leaf {number}", nest))
            parent.children.append(nest)
            reality.start(nest)
        case "finish" | "fail" if plain:
            leaf = plain[pick % len(plain)]
            leaf.outcome = "ok" if kind == "finish" else "failed"
            leaf.failures = [] if kind == "finish" else [leaf.name]
            reality.orders[leaf.name] = kind
            reality.told[leaf.name].set()
            settle(leaf)
        case "cancel leaf" if plain:
            leaf = plain[pick % len(plain)]
            leaf.cancel()
            reality.handles[leaf.name].cancel()
            settle(leaf)
        case "cancel nest" if inner:
            nest = inner[pick % len(inner)]
            nest.cancel()
            reality.handles[nest.name].cancel()
            settle(nest)
        case "cancel nursery":
            nest = nests[pick % len(nests)]
            nest.end("ok")
            reality.nurseries[nest.name].cancel()
            settle(nest)
        case "expire" if inner:
            nest = inner[pick % len(inner)]
            nest.end("failed", f"{nest.name} expired")
            reality.scopes[nest.name].deadline = -1.0
            settle(nest)
        case _:
            return


async def run(program: list[tuple[str, int]]) -> None:
    root = Nest("root", None)
    reality = Reality()
    raised: BaseException | None = None
    over = anyio.Event()

    async def the_root() -> None:
        nonlocal raised
        try:
            async with lt.open_nursery("root") as nursery:
                reality.nurseries["root"] = nursery
                root.children.append(Leaf("keeper", root))
                reality.start(root.children[0])
        except BaseExceptionGroup as error:
            raised = error
        over.set()

    async with in_time(20), anyio.create_task_group() as tasks:
        tasks.start_soon(the_root)
        await until(lambda: "keeper" in reality.told)
        for number, (kind, pick) in enumerate([*program, ("cancel nursery", 0)]):
            if root.outcome is None:
                perform(kind, pick, number, root, reality)
                await reality.agree(root)
        await over.wait()
        await reality.check(root)
        assert ([] if raised is None else names(raised)) == sorted(root.failures)
        await nothing_left("root", *(node.name for node in everyone(root)))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20)), max_size=12))
def test_random_programs_end_as_the_model_says(backend: str, program: list[tuple[str, int]]) -> None:
    name, options = BACKENDS[backend]
    anyio.run(run, program, backend=name, backend_options=options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "program",
    [
        [("nest", 0), ("spawn stubborn", 1), ("cancel nest", 0)],
        [("nest", 0), ("nest", 1), ("spawn stubborn", 2), ("expire", 0)],
        [("nest", 0), ("nest", 0), ("fail", 1)],
        [("nest", 0), ("nest", 1), ("cancel nursery", 1)],
        [("nest", 0), ("finish", 1), ("finish", 0)],
    ],
)
def test_programs_that_are_easy_to_get_wrong(backend: str, program: list[tuple[str, int]]) -> None:
    name, options = BACKENDS[backend]
    anyio.run(run, program, backend=name, backend_options=options)
