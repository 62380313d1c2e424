"""One of several devices on a line: a link that adds and strips its address, and shares everything else."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from labtether._checks import check_name
from labtether._crowd import links
from labtether._face import Message
from labtether._framing import Encoder, as_pattern
from labtether._link import Link
from labtether._patterns import compiled_pattern
from labtether._values import Raw

__all__ = ["Branch"]

M = TypeVar("M", str, bytes)


class Branch(Link[M]):
    """See Link.at."""

    __slots__ = ("_address", "_reply", "_send")

    def __init__(
        self, trunk: Link[M], address: str | int, send: str, reply: str | re.Pattern[str], name: str | None
    ) -> None:
        if trunk._framing is None:
            raise TypeError("at() needs a link with a framing: a raw line has no messages to address")
        if isinstance(address, bool) or not isinstance(address, (str, int)):
            raise TypeError(f"address is a str or an int, not {type(address).__name__}")
        for what, given, kinds in (("send", send, str), ("reply", reply, (str, re.Pattern))):
            if not isinstance(given, kinds):
                raise TypeError(f"{what} is a str, not {type(given).__name__}")
        if "{body}" not in send:
            raise ValueError(f"send says where the command goes: {{body}} is missing in {send!r}")
        flags = reply.flags if isinstance(reply, re.Pattern) else re.DOTALL
        source = reply.pattern if isinstance(reply, re.Pattern) else reply
        pattern = compiled_pattern(source.replace("{address}", re.escape(str(address))), "reply", flags)
        if "body" not in pattern.groupindex:
            raise ValueError(f"reply says where the answer is: the group (?P<body>...) is missing in {source!r}")
        shown = f"{trunk.name}/{address}" if name is None else check_name(name, "name")
        super().__init__(
            trunk._wire.another(),
            name=shown,
            url=trunk.url,
            described=f"{trunk._described} at {address}",
            timeout=trunk.timeout,
            framing=trunk._framing,
            extras=trunk._extras,
        )
        self._address = str(address)
        self._send = send
        self._reply = pattern
        self._accept, _ = as_pattern(pattern, "reply", self._encoder.encoding)
        self._shared = trunk._shared
        links.add(self)

    def _encode(self, message: Message, what: str = "a command") -> tuple[bytes, bool]:
        if isinstance(message, Raw):
            return message.data, True
        body = self._encoder.encode(message, what)
        # Replaced one by one: a command may have braces of its own.
        before, _, after = self._send.partition("{body}")
        addressed = [part.replace("{address}", self._address) for part in (before, after)]
        encoding = self._encoder.encoding or "latin-1"
        return body.join(part.encode(encoding) for part in addressed), False

    def _heard(self, body: bytes, encoder: Encoder) -> Any:
        text = body.decode(encoder.encoding or "latin-1")
        found = self._reply.search(text)
        if found is None:
            raise ValueError(f"this is no reply of {self._address!r}: {text!r} does not match {self._reply.pattern!r}")
        inner = found.group("body") or ""
        return inner if encoder.encoding is not None else inner.encode("latin-1")
