"""What a task is doing right now, in words; and who the task is, for trees, notes and effects."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, final

from labtether import _core
from labtether._checks import check_name
from labtether._crowd import present

if TYPE_CHECKING:
    from labtether._nursery import Nursery
    from labtether._outcome import Effect

__all__ = ["Strand", "current_situation", "current_strand", "loose_strands", "situation"]


class Strand:
    """One task as trees show it: a child of a nursery, or a task of somebody else's that says what it does."""

    __slots__ = ("__weakref__", "_begun", "_effects", "_name", "_nurseries", "_situations")

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = _core.monotonic()
        self._situations: tuple[situation, ...] = ()
        self._effects: tuple[Effect, ...] = ()
        self._nurseries: tuple[weakref.ref[Nursery], ...] = ()
        """Those that were opened in it and have not ended."""

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def situation(self) -> str | None:
        """What it is doing, in its own words, the widest first; None if it has not said."""
        return " > ".join(one.text for one in self._situations) or None

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return _core.monotonic() - self._begun

    def _add_effects(self, *effects: Effect) -> None:
        self._effects += effects

    def nurseries(self) -> Iterator[Nursery]:
        """The nurseries that are open in it."""
        for reference in self._nurseries:
            nursery = reference()
            if nursery is not None:
                yield nursery


_strand: ContextVar[Strand | None] = ContextVar("labtether strand", default=None)
_loose: weakref.WeakSet[Strand] = weakref.WeakSet()


def current_strand() -> Strand | None:
    """The strand of the task that runs, if it has one."""
    return _strand.get()


def current_situation() -> str | None:
    """What the task that runs is doing, in its own words."""
    strand = _strand.get()
    return None if strand is None else strand.situation


def loose_strands() -> list[Strand]:
    """Tasks that are no nursery's children and have said what they do."""
    return sorted(present(_loose), key=lambda strand: strand._begun)


@final
class situation:
    """Says what this task is doing, for as long as the block lasts: in trees, in the notes of errors that leave the
    block, in `error.situation` of link errors. Nests; costs a microsecond."""

    __slots__ = ("_begun", "_strand", "_token", "text")

    def __init__(self, text: str) -> None:
        self.text = check_name(text, "a situation")
        self._strand: Strand | None = None
        self._token: Token[Strand | None] | None = None
        self._begun = 0.0

    def __enter__(self) -> Self:
        if self._strand is not None:
            raise RuntimeError("a situation is entered once; make another")
        strand = _strand.get()
        if strand is None:
            strand = Strand(_core.who())
            self._token = _strand.set(strand)
            _loose.add(strand)
        self._strand = strand
        self._begun = _core.monotonic()
        strand._situations = (*strand._situations, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        strand = self._strand
        if strand is not None:
            strand._situations = tuple(one for one in strand._situations if one is not self)
        if self._token is not None:
            token, self._token = self._token, None
            try:
                _strand.reset(token)
            except ValueError:
                # Left in another context than it was entered in: an async generator, finished elsewhere.
                _strand.set(None)
        if isinstance(error, Exception):
            error.add_note(f"labtether: while {self.text}, for {_core.monotonic() - self._begun:.3g} s")

    def __repr__(self) -> str:
        return f"<situation {self.text!r}>"

    def __reduce__(self) -> Any:
        raise TypeError("a situation belongs to its block and cannot be pickled")
