"""What nurseries and their threads write to the log: loggers under `labtether`, fields in `extra`."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labtether._handle import Handle
    from labtether._hosted import Hosted
    from labtether._nursery import Nursery

__all__ = ["lifespan_log", "nursery_log", "replaced_log", "shown", "stays_log", "stuck_log"]

_nursery = logging.getLogger("labtether.nursery")
_lifespan = logging.getLogger("labtether.lifespan")
_thread = logging.getLogger("labtether.thread")


def nursery_log(nursery: Nursery, child: Handle[Any], error: BaseException) -> None:
    """A child has failed. Its nursery raises that in the end; the log has it at once."""
    fields = {"nursery": nursery.name, "child": child.name, "situation": child.situation, "age": child.age}
    # Its text alone: whoever keeps the record must not keep the frames of the child, and a loop with them.
    _nursery.info("%s failed in nursery %s: %s", child.name, nursery.name, shown(error), extra=fields)


def shown(error: BaseException) -> str:
    """Its repr; its kind alone where it cannot be shown."""
    try:
        return repr(error)
    except Exception:
        # An error that cannot be shown is reported all the same, by its nursery.
        return type(error).__name__


def lifespan_log(host: Hosted, what: str, error: BaseException | None = None, level: int = logging.WARNING) -> None:
    """Something happened to a lifespan that nobody waits for."""
    text = "" if error is None else f": {shown(error)}"
    with suppress(Exception):
        # Somebody's filter or handler must not keep a lifespan from ending.
        _lifespan.log(level, "%s: %s%s", host.name, what, text, extra={"lifespan": host.name, "set_up": host.place})


def replaced_log(other: str, link: str) -> None:
    """In a notebook, a link has taken the place of one that was idle."""
    _lifespan.info("%s was set up on the same port; it is stopped for %s", other, link)


def stays_log(nursery: Nursery, seconds: float) -> None:
    """A nursery was told to stop, and some of its children have not."""
    fields = {"nursery": nursery.name, "reason": nursery.reason}
    message = "nursery %s was told to stop %.3g s ago (%s) and has not ended:\n%s"
    _nursery.error(message, nursery.name, seconds, nursery.reason, nursery.tree(), extra=fields)


def stuck_log(what: str, seconds: float, tree: str) -> None:
    """Something goes on after it was given up."""
    _thread.error("%s still runs %.3g s after it should have ended\n%s", what, seconds, tree, extra={"stuck": what})
