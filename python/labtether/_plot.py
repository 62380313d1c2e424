"""`link.watch()`: the readings of one command as a live plot in a notebook."""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, final

from labtether._checks import check_count, check_name, check_span
from labtether._errors import LinkClosed
from labtether._escapes import escaped
from labtether._live import PATIENCE, Live, check_notebook
from labtether._values import Raw, Reading

if TYPE_CHECKING:
    from labtether._blocking import SyncStream
    from labtether._face import Message
    from labtether._link import Link

__all__ = ["Plot", "plot"]

PACE = 0.25
"""Seconds between two pictures at least, however fast the readings come."""


@final
class Plot(Live):
    """A live plot of what a link answers to one command, from `link.watch()`: `stop()` it, `with` it, or await it."""

    __slots__ = (
        "_asked",
        "_beginning",
        "_command",
        "_count",
        "_drawn",
        "_kept",
        "_link",
        "_name",
        "_reader",
        "_rows",
        "_stream",
        "_unit",
    )

    def __init__(
        self,
        link: Link[Any],
        command: Message,
        stream: SyncStream[Reading[Any]],
        keep: int,
        unit: str | None,
        title: str | None,
    ) -> None:
        super().__init__(PACE, "labtether plot")
        self._link = link
        self._command = command
        self._asked = _in_words(command)
        self._name = f"{link.name} {self._asked}" if title is None else title
        self._unit = unit
        self._stream = stream
        self._kept: deque[Reading[Any]] = deque(maxlen=keep)
        self._rows: deque[tuple[float, tuple[float, ...]]] = deque(maxlen=keep)
        """What is drawn of each reading that is kept: seconds since the first of all, and its numbers."""
        self._count = 0
        self._drawn = 0
        self._beginning = 0.0
        self._reader = threading.Thread(target=self._read, name="labtether readings", daemon=True)

    @property
    def readings(self) -> list[Reading[Any]]:
        """What is kept, the oldest first: the last `keep` readings."""
        with self._lock:
            return list(self._kept)

    @property
    def count(self) -> int:
        """How many readings there were, those that are not kept any more among them."""
        return self._count

    def _is_own_thread(self) -> bool:
        # `parse` may stop it.
        return super()._is_own_thread() or self._reader is threading.current_thread()

    def _begin(self) -> None:
        super()._begin()
        self._reader.start()

    def _read(self) -> None:
        """The thread of the readings. It ends when the poll does: at an error, or when the stream is closed."""
        try:
            with self._lock:
                # Begun here, because a poll ends with the task that began it, and each cell is a task.
                if not self._ending.is_set():
                    self._stream.__enter__()
            for reading in self._stream:
                self._take(reading)
        except Exception as error:
            self._fail(error, "has ended")
        finally:
            self._stream.close()
            self._end("stopped")

    def _take(self, reading: Reading[Any]) -> None:
        numbers = _numbers(reading.value, self._asked)
        with self._lock:
            if self._count == 0:
                self._beginning = reading.monotonic
            elif len(before := self._rows[-1][1]) != len(numbers):
                raise ValueError(f"{len(numbers)} numbers in a reply to {self._asked}, and {len(before)} before")
            self._count += 1
            self._kept.append(reading)
            self._rows.append((reading.monotonic - self._beginning, numbers))

    def _let_go(self) -> None:
        with self._lock:
            self._stream.close()
        if self._reader.ident is not None:
            self._reader.join(PATIENCE)

    def _replaces(self, other: Live) -> bool:
        return isinstance(other, Plot) and other._link is self._link and other._command == self._command

    def _is_news(self) -> bool:
        return self._count != self._drawn

    def _title(self) -> str:
        return f"the plot of {self._name}"

    def _forms(self) -> dict[str, Any]:
        from labtether._show.plotting import drawn, plot_html

        with self._lock:
            rows, count = list(self._rows), self._count
        self._drawn = count
        times = [time for time, _ in rows]
        lines = list(zip(*(numbers for _, numbers in rows), strict=True))
        label = self._asked if self._unit is None else f"{self._asked} [{self._unit}]"
        png = drawn((times, lines), label) if rows else None
        state = f"{self.state}: {self._why}" if self._why not in (None, "failed", "stopped") else self.state
        problem = None if self._error is None else f"{type(self._error).__name__}: {self._error}"
        alt = f"{label} against time [s]"
        html = plot_html(self._name, state, self._latest(rows), self._counted(len(rows), count), png, alt, problem)
        forms = {"text/plain": repr(self), "text/html": str(html)}
        if png is not None and self._why is not None:
            # For where the notebook is kept and HTML is not.
            forms["image/png"] = base64.b64encode(png).decode("ascii")
        return forms

    def _latest(self, rows: list[tuple[float, tuple[float, ...]]]) -> str:
        if not rows:
            return ""
        values = ", ".join(f"{number:.8g}" for number in rows[-1][1])
        return values if self._unit is None else f"{values} {self._unit}"

    def _counted(self, kept: int, count: int) -> str:
        counted = f"{count} reading{'' if count == 1 else 's'}"
        return f"last {kept} of {counted}" if kept < count else counted

    def __repr__(self) -> str:
        problem = "" if self._error is None else f": {type(self._error).__name__}: {self._error}"
        return f"<Plot {self._name}: {self.state}, {self._counted(len(self._kept), self._count)}{problem}>"


def plot(
    link: Link[Any],
    command: Message,
    *,
    every: float,
    parse: Callable[[Any], Any],
    keep: int,
    unit: str | None,
    title: str | None,
    on_error: str,
) -> Plot:
    """See Link.watch."""
    try:
        import matplotlib.figure  # noqa: F401  to say what is missing at the call, not from a thread
    except ImportError as error:
        raise ImportError('link.watch() draws with matplotlib: pip install "labtether[plot]"') from error
    room = check_count(keep, "keep")
    if check_span(every, "every") <= 0:
        raise ValueError(f"every is more than 0 s, not {every}")
    for what, words in (("unit", unit), ("title", title)):
        if words is not None:
            check_name(words, what)
    if not callable(parse):
        raise TypeError(f"parse is a function, not {type(parse).__name__}")
    stream = link.sync.poll(command, every=every, parse=parse, on_error=on_error)
    check_notebook("link.watch()", "async for reading in link.poll(...)")
    if link.state == "closed":
        raise LinkClosed(f"{link.name} is closed: set it up before it is watched", link=link.name)
    return Plot(link, command, stream, room, unit, title)._show()


def _in_words(command: Message) -> str:
    if isinstance(command, str):
        return escaped(command.encode("latin-1", "backslashreplace")) if not command.isprintable() else command
    return escaped(command.data if isinstance(command, Raw) else command)


def _numbers(value: Any, asked: str) -> tuple[float, ...]:
    """What is drawn of one value."""
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict))
    try:
        numbers = tuple(float(one) for one in value) if several else (float(value),)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if not numbers or isinstance(value, (str, bytes)):
        raise TypeError(f"a plot takes a number or several; parse made {value!r:.60} of a reply to {asked}")
    return numbers
