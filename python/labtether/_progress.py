"""`lt.progress()`: a bar that moves with the progress messages of a long exchange."""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Generic, Self, TypeVar, final

from labtether._values import number

__all__ = ["Progress", "progress"]

T = TypeVar("T")


def progress(
    parts: AsyncIterable[T],
    *,
    total: float | None = None,
    parse: Callable[[T], float | None] = number,  # type: ignore[assignment]
    bar: Any = None,
    desc: str | None = None,
) -> Progress[T]:
    """The same messages, with a bar that moves with them: `async for part in lt.progress(talk, total=100): ...`

    total: how far it goes; None if that is not known. parse: how far it has come, from a message: the bar is moved
    there. A message in which `parse` finds no number (it raises ValueError, or gives None) moves the bar one on where
    there is no total, and not at all where there is one. bar: anything like tqdm: what makes one of `total=` and
    `desc=`, or one that is made; None: `tqdm.auto`, and nothing if tqdm is not installed. desc: what stands before it.

    The bar is closed when the loop is over, whichever way: at its end, by a `break`, an error or a cancellation. Where
    the loop is left while something else holds the iterator, by `aclose()`.

    Raises TypeError for what cannot be iterated over, or is no bar; whatever the messages raise.
    """
    if not hasattr(parts, "__aiter__"):
        raise TypeError(f"progress() takes an async iterable, such as an exchange, not {type(parts).__name__}")
    if total is not None:
        if isinstance(total, bool) or not isinstance(total, (int, float)):
            raise TypeError(f"total is a number, not {type(total).__name__}")
        if not 0 < total < sys.float_info.max:
            raise ValueError("total is more than 0, and finite")
    if not callable(parse):
        raise TypeError(f"parse is a function, not {type(parse).__name__}")
    return Progress(parts, total, parse, _bar_maker(bar, total, desc))


@final
class Progress(Generic[T]):
    """Messages, and a bar that moves with them; from `lt.progress()`."""

    __slots__ = ("__weakref__", "_at", "_bar", "_make", "_over", "_parse", "_parts", "_total")

    def __init__(
        self,
        parts: AsyncIterable[T],
        total: float | None,
        parse: Callable[[T], float | None],
        make: Callable[[], Any],
    ) -> None:
        self._over = False
        self._bar: Any = None
        self._make = make
        self._parts: AsyncIterator[T] = aiter(parts)
        self._total = total
        self._parse = parse
        self._at: float = 0.0
        """Where the bar stands."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        try:
            if self._bar is None:
                self._bar = self._make()
            part = await anext(self._parts)
            self._move(part)
        except StopAsyncIteration:
            self._close()
            raise
        except BaseException as error:
            try:
                self._close()
            except Exception as failure:
                error.add_note(f"labtether: and the bar could not be closed: {failure!r}")
            raise
        return part

    def _move(self, part: T) -> None:
        try:
            found = self._parse(part)
        except ValueError:
            found = None
        if found is None or not math.isfinite(found):
            found = self._at + 1 if self._total is None else self._at
        step, self._at = found - self._at, found
        if step:
            self._bar.update(int(step) if step == int(step) else step)

    async def aclose(self) -> None:
        """Close the bar, and end the messages where they can be ended."""
        self._close()
        end = getattr(self._parts, "aclose", None)
        if end is not None:
            await end()

    def _close(self) -> None:
        self._over = True
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def __del__(self) -> None:
        # A loop that is left by `break` drops its iterator there and then.
        if not getattr(self, "_over", True):
            self._close()

    def __repr__(self) -> str:
        goal = "" if self._total is None else f" of {self._total:g}"
        return f"<Progress {'over' if self._over else 'at'} {self._at:g}{goal}>"


class _NoBar:
    """Nothing to look at."""

    def update(self, step: float) -> None:
        """Stay as it is."""

    def close(self) -> None:
        """Nothing is open."""


def _bar_maker(bar: Any, total: float | None, desc: str | None) -> Callable[[], Any]:
    """What makes the bar when the first message is asked for."""
    if bar is None:
        return lambda: _default(total, desc)
    is_made = not isinstance(bar, type) and hasattr(bar, "update")
    if is_made:
        return lambda: _checked(bar)
    if not callable(bar):
        raise TypeError(f"bar is like tqdm: a class, a function, or an object with update() and close(), not {bar!r}")
    return lambda: _checked(bar(total=total, desc=desc))


def _default(total: float | None, desc: str | None) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _NoBar()
    return tqdm(total=total, desc=desc)


def _checked(bar: Any) -> Any:
    if not (callable(getattr(bar, "update", None)) and callable(getattr(bar, "close", None))):
        raise TypeError(f"a bar has update() and close(); {type(bar).__name__} has not")
    return bar
