"""HTML that cannot be forgotten to be escaped: text is escaped where it meets a tag, and only tags make `Html`."""

from __future__ import annotations

import html
from collections.abc import Iterable

__all__ = ["Html", "joined", "readable", "shortened", "tag", "void_tag"]

# What a control character looks like: a terminal escape or a NUL in a reply must neither act nor vanish.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}
# Marks that turn the direction of what follows could make a line read as another.
_TURNS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F], 0xFFFD)
_UNSEEN = _PICTURES | _TURNS


class Html(str):
    """Markup. A plain str is text."""

    __slots__ = ()


def readable(text: str) -> str:
    """Text from the world with nothing in it that acts, hides, or cannot be written as UTF-8."""
    return text.translate(_UNSEEN).encode("utf-8", "backslashreplace").decode("utf-8")


def shortened(text: str, most: int) -> str:
    """At most `most` characters of it; what was cut is said."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more characters)"


def tag(name: str, *inside: str | None, style: str = "", **attributes: str) -> Html:
    """One element. What is inside is text, and escaped, unless it is Html; None is left out."""
    if style:
        attributes["style"] = style
    return Html(f"<{name}{_given(attributes)}>{joined(inside)}</{name}>")


def void_tag(name: str, **attributes: str) -> Html:
    """An element that has no inside, and no end."""
    return Html(f"<{name}{_given(attributes)}>")


def _given(attributes: dict[str, str]) -> str:
    return "".join(f' {key.replace("_", "-")}="{html.escape(readable(value))}"' for key, value in attributes.items())


def joined(parts: Iterable[str | None]) -> Html:
    """Text and markup, one after the other."""
    return Html("".join(part if isinstance(part, Html) else html.escape(readable(part)) for part in parts if part))
