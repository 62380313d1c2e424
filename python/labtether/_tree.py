"""The tree of who is alive: Python's tasks and Rust's, links, threads, holders and waiters. Looks, changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labtether import _core
from labtether._crowd import present
from labtether._hosts import live_hosts
from labtether._shown import Shown
from labtether._strand import Strand, loose_strands
from labtether._sync import shared

if TYPE_CHECKING:
    from labtether._hosted import Hosted
    from labtether._nursery import Nursery

__all__ = ["Tree", "lifecycle_tree", "of_nursery"]

# So many equal neighbours are shown as one line.
FOLD = 4


@dataclass(frozen=True)
class Tree(Shown):
    """One that is alive, and what it contains.

    kind: "lifecycle", "instrument", "nursery", "task", "service", "entered", "link", "rust", "thread", "lock" and the
    like. age: seconds. situation: what it says it is doing. detail: what is known besides. times: how many equal ones
    this line stands for; `age` is then the oldest's.
    """

    kind: str
    name: str
    age: float | None = None
    situation: str | None = None
    detail: str | None = None
    times: int = 1
    children: tuple[Tree, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The same as a dict that JSON can hold."""
        return {
            "kind": self.kind,
            "name": self.name,
            "age": self.age,
            "situation": self.situation,
            "detail": self.detail,
            "times": self.times,
            "children": [child.to_dict() for child in self.children],
        }

    def find(self, name: str) -> Tree | None:
        """The first of that name, itself included."""
        return next((one for one in self.walk() if one.name == name), None)

    def walk(self) -> Iterator[Tree]:
        """Itself and everything in it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def _line(self) -> str:
        times = f" ×{self.times}" if self.times > 1 else ""  # noqa: RUF001  the sign is meant
        age = f"  {self.age:.1f} s" if self.age is not None else ""
        words = [f'"{self.situation}"'] if self.situation else []
        words += [self.detail] if self.detail else []
        return f"{self.kind} {self.name}{times}{age}{'  ' if words else ''}{', '.join(words)}"

    def __str__(self) -> str:
        lines = [self._line()]
        for child in self.children:
            lines += ["  " + line for line in str(child).splitlines()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks that know no bundles; colours come from the page, so it reads in light and dark."""
        from labtether._show.trees import tree_html

        return str(tree_html(self))


def of_nursery(nursery: Nursery) -> Tree:
    """The tree of one nursery, with the locks that its tasks hold or wait for."""
    census = _census()
    node = _nursery(nursery, census)
    names = {one.name for one in node.walk()}
    return _with(node, (*node.children, *_shared(names)))


def lifecycle_tree() -> Tree:
    """The tree of everything in this process."""
    from labtether._nursery import _open

    census = _census()
    nurseries = sorted(present(_open), key=lambda nursery: nursery._keeping.born)
    nested = {id(inner) for outer in nurseries for child in outer.children for inner in child.nurseries()}
    nested |= {id(inner) for strand in loose_strands() for inner in strand.nurseries()}
    nested |= {id(inner) for host in live_hosts() for inner in host.strand.nurseries()}
    known = {nursery._supervisor.id for nursery in nurseries}
    strands = [_strand_node(strand, "task", census) for strand in loose_strands()]
    tops = [_nursery(nursery, census) for nursery in nurseries if id(nursery) not in nested]
    root = min(census, default=0)
    names = {nursery.name for nursery in nurseries}
    hosts = live_hosts()
    hosted = [_hosted(host, hosts) for host in hosts if host.parent not in hosts]
    shown = {f"link {link.name}" for host in hosts for link in present(host.links)}
    rust = [
        _rust(row, census)
        for row in census.get(root, ())
        if row[0] not in known and not (row[2] == "task" and (row[3] in names or row[3] in shown))
    ]
    return Tree("lifecycle", "labtether", children=_folded([*hosted, *strands, *tops, *rust, *_shared(None)]))


def _hosted(host: Hosted, hosts: list[Hosted]) -> Tree:
    inside = [_hosted(one, hosts) for one in hosts if one.parent is host]
    links = [Tree("link", link.name, detail=f"{link.url} {link.state}") for link in present(host.links)]
    detail = host.state if host.kind == host.name else f"{host.kind}, {host.state}"
    kind = "entered" if host.kind == "entered" else "instrument"
    age, doing = _core.monotonic() - host.began, host.strand.situation
    nurseries = [_nursery(nursery, _census()) for nursery in host.strand.nurseries()]
    return Tree(kind, host.name, age, doing, detail, children=_folded([*inside, *nurseries, *links]))


Row = tuple[int, int | None, str, str, float]


def _census() -> dict[int, list[Row]]:
    """Who is in the census, by the number of their scope."""
    children: dict[int, list[Row]] = {}
    for row in _core.census():
        if row[1] is None:
            children.setdefault(row[0], [])
        else:
            children.setdefault(row[1], []).append(row)
    return children


def _nursery(nursery: Nursery, census: dict[int, list[Row]]) -> Tree:
    services = {id(handle) for handle in nursery._keeping.services()}
    hosts = {id(handle) for handle in nursery._keeping.hosts()}
    nodes = []
    for handle in nursery.children:
        kind = "service" if id(handle) in services else "entered" if id(handle) in hosts else "task"
        nodes.append(_strand_node(handle, kind, census, nursery._keeping.detail(handle)))
    nodes += [_rust(row, census) for row in census.get(nursery._supervisor.id, ())]
    reason = nursery.reason
    return Tree(
        "nursery",
        nursery.name,
        nursery._keeping.age,
        detail=f"being cancelled: {reason}" if reason else None,
        children=_folded(nodes),
    )


def _strand_node(strand: Strand, kind: str, census: dict[int, list[Row]], detail: str | None = None) -> Tree:
    inside = [_nursery(nursery, census) for nursery in strand.nurseries()]
    return Tree(kind, strand.name, strand.age, strand.situation, detail, children=_folded(inside))


def _rust(row: Row, census: dict[int, list[Row]]) -> Tree:
    number, _, kind, name, age = row
    inside = [_rust(child, census) for child in census.get(number, ())]
    return Tree("rust" if kind == "task" else kind, name, age, children=_folded(inside))


def _shared(names: set[str] | None) -> Iterator[Tree]:
    """Locks and the like that somebody holds or waits for: all, or those of tasks called `names`."""
    for one in shared():
        size, holders, waiters = one._places.view()
        people = {who.partition("'")[2].rstrip("'") for who, *_ in (*holders, *waiters)}
        if not people or (names is not None and not people & names):
            continue
        held = [Tree("holder", who, age, detail=place) for who, place, age, _ in holders]
        waits = [Tree("waiter", who, age, detail=place) for who, place, age, _ in waiters]
        free = f"{size - len(holders)} of {size} free" if size > 1 else None
        yield Tree(type(one).__name__.lower(), one.name, detail=free, children=_folded([*held, *waits]))


def _with(tree: Tree, children: tuple[Tree, ...]) -> Tree:
    return Tree(tree.kind, tree.name, tree.age, tree.situation, tree.detail, tree.times, children)


def _shape(tree: Tree) -> tuple[Any, ...]:
    return (tree.kind, tree.name, tree.situation, tree.detail, tuple(_shape(child) for child in tree.children))


def _folded(nodes: Iterable[Tree]) -> tuple[Tree, ...]:
    """Runs of equal neighbours become one, with their number and the oldest's age."""
    runs: list[list[Tree]] = []
    shape: object = None
    for node in nodes:
        own = _shape(node)
        if runs and own == shape:
            runs[-1].append(node)
        else:
            runs.append([node])
        shape = own
    folded: list[Tree] = []
    for run in runs:
        if len(run) < FOLD:
            folded += run
            continue
        first = max(run, key=lambda one: one.age or 0.0)
        folded.append(
            Tree(*(first.kind, first.name, first.age, first.situation, first.detail), len(run), first.children)
        )
    return tuple(folded)
