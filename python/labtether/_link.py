"""Links: what a user holds, and its scope. Asking is in `_asking.py`; decisions about the wire are Rust's."""

from __future__ import annotations

import os
import re
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from labtether import _core
from labtether._asking import Asking
from labtether._crowd import links
from labtether._engine import ensure_started
from labtether._errors import LinkBusy, LinkClosed
from labtether._face import Message, is_interactive
from labtether._framed import Framed
from labtether._hosts import current_host, host_of, live_hosts, make_room, set_up_links, stop_for
from labtether._values import number

if TYPE_CHECKING:
    from labtether._blocking import SyncLink
    from labtether._plot import Plot
    from labtether._recording import Recording

__all__ = ["Link", "linked"]

M = TypeVar("M", str, bytes)


class Link(Asking[M]):
    """A connection to one instrument, owned by Rust: made closed, usable between setup and stop.

    `async with link:` in programs; `await link.setup()` and `await link.stop()` in notebooks; `with link.sync:` where
    there is no event loop. A link belongs to no event loop and no thread. Make one with `serial`, `tcp` or `link`.

    Every wait has a deadline. A cancelled await ends when Rust has stopped the work, and never leaves its reply to the
    next question.
    """

    __slots__ = ()

    async def setup(self, *, replace: bool | None = None) -> Self:
        """Open the link and return it. Nothing happens if this object has set it up already.

        replace: whether an idle link of this process that holds the port is stopped for this one; None: in interactive
        sessions only.

        Raises OpenFailed (with `kind`), LinkBusy if another link of this process holds the port. All or nothing: after
        a failure, or a cancellation, nothing is left open.
        """
        await self._open(is_interactive() if replace is None else bool(replace), False)
        _watched_after_cells(self)
        return self

    async def _open(self, replace: bool, once: bool) -> None:
        ensure_started()
        host = current_host()
        replace = replace or (host is not None and any(one.replace for one in host.line()))
        fresh = self.state in ("closed", "lost")
        if self.state == "closed":
            # Whoever had opened it before has closed it, and does not close it again.
            for other in live_hosts():
                if other is not host:
                    other.links.pop(self, None)
            if host is None:
                _core.belong_to(self._wire, 0)
        await self._opened(replace, once)
        if fresh and host is not None and not host.over.is_set():
            host.adopt(self)
        elif fresh:
            set_up_links.add(self)

    async def _opened(self, replace: bool, once: bool) -> None:
        shared = self._shared
        if shared is None:
            await self._wired(replace, once)
            return
        if self in shared:
            if once:
                where = self._wire.set_up_at
                raise LinkBusy(f"{self._name} is busy: it was set up {where}, and is entered once", link=self._name)
            # Somebody else may be at it still.
            await self._wired(replace, False)
            if self not in shared:
                raise self._closed("it was stopped while it was being set up")
            self._wire.set_closed(False)
            return
        # Before it is open, so that nobody closes it under us.
        shared.add(self)
        try:
            await self._wired(replace, False)
            if self not in shared:
                raise self._closed("it was stopped while it was being set up")
            self._wire.set_closed(False)
        except BaseException:
            shared.discard(self)
            raise

    def _closed(self, why: str) -> LinkClosed:
        return LinkClosed(f"{self._name} is closed: {why}", link=self._name)

    async def _wired(self, replace: bool, once: bool) -> None:
        if replace:
            await make_room(self)
        while True:
            try:
                await self._wire.setup(self._place(), replace, once)
            except LinkBusy as busy:
                # An instrument has the port: it is stopped as a whole, with its parking, or not at all.
                holder = host_of(getattr(busy, "lifespan", 0))
                if holder is None or not await stop_for(self, holder):
                    raise
            else:
                return

    async def stop(self) -> None:
        """Close the link, whatever it is doing: waits fail with LinkClosed, pending output is drained for at most
        `close_timeout`. Of faces that share a link (`at`) the last closes it.

        Always works: twice, after a failed setup, on a dead link, from any loop or thread. Raises CleanupTimeout if
        something is stuck. A cancellation does not stop it; the await ends when the link is closed.
        """
        host = current_host()
        if host is not None and host.torn:
            # What is open now, if anything, is not that lifespan's any more.
            return
        if self._shared is not None:
            self._wire.set_closed(True)
            self._shared.discard(self)
            if self._shared:
                return
        if not self._wire.never_started():
            await self._wire.stop()

    async def __aenter__(self) -> Self:
        await self._open(False, True)
        _watched_after_cells(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        host = current_host()
        cut = error is not None and not isinstance(error, Exception)
        if cut and host is not None and host.state == "closing" and self in host.links:
            # The closing part was cut short: Rust has the last words.
            self._wire.forget()
        await self.stop()

    def at(
        self,
        address: str | int,
        *,
        send: str = "{address}{body}",
        reply: str | re.Pattern[str] = r"(?P<body>.*)",
        name: str | None = None,
    ) -> Link[M]:
        """One of several devices on this line: a link of its own that shares the port, the queue and the options.

        address: takes the place of `{address}` in `send` and `reply`. send: what is sent for a command `{body}`; the
        framing, with its checksum, comes around that. reply: which messages are this device's; its group `body` is what
        is given, without the address. Messages of others are not taken for its replies. name: for errors and logs;
        None: the link's, "/" and the address.

        The first face that is set up opens the port, the last that is stopped closes it. Raises ValueError for a `send`
        without `{body}` or a `reply` without that group, TypeError for a link without a framing.
        """
        from labtether._branch import Branch

        if self._shared is None:
            self._shared = weakref.WeakSet()
            if self._wire.state in ("closed", "lost"):
                self._wire.set_closed(True)
            else:
                self._shared.add(self)
        return Branch(self, address, send, reply, name)

    def record(self, path: str | os.PathLike[str]) -> Recording:
        """Write all that goes over this link from now on to a file, with the time of each piece: `with
        link.record("psu.jsonl"):`, or until the recording's `stop()`.

        The link may be closed as yet; it is recorded from its opening on, and again when it is set up again. What the
        file holds already stays. Nothing waits for the disk but this call and the recording's `stop()`.

        Raises OSError if the file cannot be written. See Recording for what becomes of one that fails later, and
        `python -m labtether transcript` and `simulate` for what can be made of it.
        """
        from labtether._recording import begin_recording, header_of

        ensure_started()
        about = header_of(
            name=self._name, url=self._url, described=self._described, state=self.state, framing=self._framing
        )
        return begin_recording(self._wire, path, about)

    def watch(
        self,
        command: Message,
        every: float = 0.2,
        *,
        parse: Callable[[M], Any] = number,
        keep: int = 600,
        unit: str | None = None,
        title: str | None = None,
        on_error: str = "raise",
    ) -> Plot:
        """Plot the answers to `command` in this cell of a notebook, and go on in the background until its `stop()`;
        `with` it, or await it until the cell is interrupted. Run again, the cell's new plot takes the place of the old.

        every: seconds from one asking to the next, as in `poll`; drawn four times a second at most. parse: makes a
        number of a reply, or several: one line each. keep: how many readings are drawn and kept; older ones are
        forgotten, which the plot says. unit: for the axis. title: None: the link's name and the command. on_error:
        "raise" ends it, "skip" leaves bad replies out.

        A link that is lost, a timeout or a bad reply ends it: the plot shows the error, its `error` has it, the log has
        it, and awaiting it raises it.

        Raises ImportError without matplotlib, RuntimeError outside notebooks, LinkClosed, ValueError, TypeError.
        """
        from labtether._plot import plot

        return plot(self, command, every=every, parse=parse, keep=keep, unit=unit, title=title, on_error=on_error)

    def _face_for_readying(self) -> Link[M]:
        """A face whose questions go before everybody else's, for the function that readies a new connection."""
        face: Link[M] = Link(
            self._wire.first(),
            name=self._name,
            url=self._url,
            described=self._described,
            timeout=self._timeout,
            framing=self._framing,
            extras=replace(self._extras, readying=None),
        )
        # It closes nothing: the link it stands for is still there.
        face._shared = weakref.WeakSet([self])
        return face

    @property
    def sync(self) -> SyncLink[M]:
        """The same link with blocking methods, for code without an event loop; they can be interrupted."""
        from labtether._blocking import SyncLink

        return SyncLink(self)


def _watched_after_cells(link: Link[Any]) -> None:
    """In IPython the next cell tells if it has been lost."""
    if "IPython" in sys.modules:
        from labtether import _ipython

        _ipython.watch(link)


def linked(wire: _core.Wire, lines: Framed | None, common: dict[str, Any], *, url: str, described: str) -> Link[Any]:
    """A closed link over `wire`, with what `common_options` made of what was given."""
    made: Link[Any] = Link(
        wire,
        name=common["name"],
        url=url,
        described=described,
        timeout=common["timeout"],
        framing=lines,
        extras=common["extras"],
    )
    links.add(made)
    return made
