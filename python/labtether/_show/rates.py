"""How busy links are: what went over each between two looks, and how it stands."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from labtether import _core

if TYPE_CHECKING:
    from labtether._face import Face

__all__ = ["LinkLook", "Rates"]


@dataclass(frozen=True, slots=True)
class LinkLook:
    """A link at one moment. Rates are per second since the look before; None at the first look.

    idle: seconds since the last activity; None if there was none. problem: why it was lost.
    """

    name: str
    url: str
    state: str
    exchanges: int
    exchanges_per_second: float | None
    bytes_out_per_second: float | None
    bytes_in_per_second: float | None
    late: int
    dropped: int
    idle: float | None
    problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """The same as a dict that JSON can hold."""
        return asdict(self)


class Rates:
    """Remembers the look before."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before: weakref.WeakKeyDictionary[Face[Any], tuple[float, ...]] = weakref.WeakKeyDictionary()

    def look(self, links: Iterable[Face[Any]], at: float) -> list[LinkLook]:
        """Each of `links` that is not closed, by name; those that share a line (`link.at`) as one. at: seconds on the
        clock of the engine."""
        lines: dict[int, list[Face[Any]]] = {}
        for link in sorted(links, key=lambda link: link.name):
            if link.state != "closed":
                lines.setdefault(id(link if link._shared is None else link._shared), []).append(link)
        return [
            self._one(faces[0], ", ".join(dict.fromkeys(face.name for face in faces)), at) for faces in lines.values()
        ]

    def _one(self, link: Face[Any], name: str, at: float) -> LinkLook:
        exchanges, written, read, late, dropped, last = link._wire.counts()
        before = self._before.get(link)
        self._before[link] = (at, exchanges, written, read)
        passed = 0.0 if before is None else at - before[0]

        def rate(now: int, place: int) -> float | None:
            return None if before is None or passed <= 0 else (now - before[place]) / passed

        lost = link._wire.lost()
        return LinkLook(
            name,
            link.url,
            link.state,
            exchanges,
            rate(exchanges, 1),
            rate(written, 2),
            rate(read, 3),
            late,
            dropped,
            None if last is None else max(0.0, _core.monotonic() - last),
            None if lost is None else str(lost),
        )
