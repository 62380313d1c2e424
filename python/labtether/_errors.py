"""The exceptions. Each says whose move it is, and carries what was known; Rust raises them by the table in
`src/bridge/errors.rs`."""

from __future__ import annotations

from typing import Any

from labtether._strand import current_situation

__all__ = [
    "ChannelClosed",
    "ChannelEmpty",
    "ChannelFull",
    "CleanupTimeout",
    "Deadlock",
    "ForkedProcess",
    "FrameError",
    "InstrumentBusy",
    "InstrumentError",
    "InternalError",
    "LinkBusy",
    "LinkClosed",
    "LinkError",
    "LinkLost",
    "LinkTimeout",
    "OpenFailed",
    "ScopeClosed",
    "Unsupported",
]


class LinkError(Exception):
    """The root of what can go wrong with a link.

    link: the link's name. port: where it leads. command: what was asked, as it was given, or None. heard: the bytes
    that had come in answer. elapsed: seconds from the first byte written (or from the call, where nothing was) until
    it failed, or None. effect: what the instrument did, as far as the wire can tell: "never_started", "halted",
    "halted_at_boundary", "ran_to_completion", "unconfirmed", or None. situation: what the task was doing, in the words
    of `lt.situation`, or None. The last events on the wire are in a note.
    """

    def __init__(
        self,
        message: str = "",
        *,
        link: str | None = None,
        port: str | None = None,
        command: str | bytes | None = None,
        heard: bytes = b"",
        elapsed: float | None = None,
        effect: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.link = link
        self.port = port
        self.command = command
        self.heard = heard
        self.elapsed = elapsed
        self.effect = effect
        self.situation = current_situation()
        for name, value in more.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = dict(self.__dict__)
        if isinstance(self, OSError):
            attributes["errno"] = self.errno  # which OSError keeps elsewhere
        return _rebuild, (type(self), self.message, attributes)


def _rebuild(kind: type[LinkError], message: str, attributes: dict[str, Any]) -> LinkError:
    error = kind(message)
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


class LinkClosed(LinkError):
    """Yours to mend: the link is not set up, or was stopped."""


class ForkedProcess(LinkClosed, RuntimeError):
    """Yours to mend: this process was forked from one that uses labtether. Use the 'spawn' start method."""


class LinkBusy(LinkError):
    """Yours to mend: another link of this process holds the port, or your turn did not come within `turn`. Says who,
    with what, since when."""


class OpenFailed(LinkError, OSError):
    """The world's: the port did not open.

    kind: "missing", "ambiguous", "permission", "in_use" (by another process), "refused" or "unsupported" (a setting
    the device cannot take). errno: the system's number for it, or None.
    """

    kind: str
    errno: int | None

    def __init__(self, message: str = "", *, kind: str = "refused", errno: int | None = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.kind = kind
        self.errno = errno


class LinkLost(LinkError, ConnectionError):
    """The world's: unplugged, reset, or the end of the stream."""

    errno: int | None

    def __init__(self, message: str = "", *, errno: int | None = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.errno = errno


class LinkTimeout(LinkError, TimeoutError):
    """The instrument's: silent. The link stays usable. If bytes came but no end of a message, it says so, with a
    hint."""


class FrameError(LinkError, ValueError):
    """The instrument's: garbled, too long, or not what `parse` can read; `heard` has the reply."""


class InstrumentError(LinkError):
    """The instrument's: it answered with an error.

    code, text: the parts of the answer, where the pattern names them. reply: the whole of it.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        text: str | None = None,
        reply: str | bytes | None = None,
        **evidence: Any,
    ) -> None:
        super().__init__(message, **evidence)
        self.code = code
        self.text = text
        self.reply = reply


class InstrumentBusy(InstrumentError):
    """The instrument's: it was busy, and the retries are used up."""


class Unsupported(LinkError, OSError):
    """Yours: the device behind the link cannot do that: a line it has not, a setting it cannot take."""


class ScopeClosed(RuntimeError):
    """Yours to mend: the nursery it was to run in has ended."""

    def __init__(self, message: str = "", **_evidence: Any) -> None:
        super().__init__(message)


class CleanupTimeout(LinkError):
    """Ours or the world's: something did not end when its scope did. `stuck` names it. Not a TimeoutError, so that no
    retry swallows it."""

    def __init__(self, message: str = "", *, stuck: list[str] | None = None, **evidence: Any) -> None:
        super().__init__(message, **evidence)
        self.stuck = stuck or []


class Deadlock(RuntimeError):
    """Yours to mend: this wait could never end. `cycle` has who waits for what, one line for each in the circle."""

    def __init__(self, message: str = "", *, cycle: list[str] | None = None) -> None:
        super().__init__(message)
        self.cycle = cycle or []


class ChannelClosed(RuntimeError):
    """Yours: the channel has ended: it was closed, or the scope of its last sender has ended."""


class ChannelFull(RuntimeError):
    """Yours: there is no room for `send_nowait`."""


class ChannelEmpty(RuntimeError):
    """Yours: there is nothing for `receive_nowait`."""


class InternalError(RuntimeError):
    """Ours: a bug in labtether. Please report it."""

    def __init__(self, message: str = "", **_evidence: Any) -> None:
        super().__init__(message)
