"""The framing of links that have packets."""

from __future__ import annotations

from typing import Any, ClassVar

from labtether import _core
from labtether._framed import Framed, check_encoding

__all__ = ["Packets"]


class Packets(Framed):
    """Packets as messages: what comes in one transfer is one message, and a message is sent as one transfer.

    Only for `lt.usb`, whose framing it is unless another is given: elsewhere there are no packets, and it is a
    ValueError. encoding: None: messages are bytes.

    In the link's trace, to raw reads in an exchange, and among the bytes that an error has heard, each packet that came
    has its length before it: four bytes, the highest first.
    """

    __slots__ = ()
    _defaults: ClassVar[dict[str, Any]] = {"encoding": None}

    def __init__(self, *, encoding: str | None = None) -> None:
        self.encoding = check_encoding(encoding)
        self.core = _core.Framing.packets()
