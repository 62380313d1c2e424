"""Bad input of what exchanges brought is a clear ValueError or TypeError at the call, before anything is opened."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import labtether as lt

Call = Callable[[], Any]
NOWHERE = "/dev/null/there/is/nothing"


def made(**options: Any) -> Call:
    """A link with options that it should not take."""
    return lambda: lt.serial(NOWHERE, **options)


BAD: list[Any] = [
    # Abort
    (lambda: lt.Abort(5), TypeError, "the message of Abort is str, bytes or Raw"),  # type: ignore[arg-type]
    (lambda: lt.Abort(None), TypeError, "the message of Abort"),  # type: ignore[arg-type]
    (lambda: lt.Abort("HALT", timeout=-1), ValueError, "the timeout of Abort is not negative"),
    (lambda: lt.Abort("HALT", timeout=math.inf), ValueError, "the timeout of Abort is finite"),
    (lambda: lt.Abort("HALT", timeout=math.nan), ValueError, "the timeout of Abort"),
    (lambda: lt.Abort("HALT", timeout=None), TypeError, "the timeout of Abort"),  # type: ignore[arg-type]
    (lambda: lt.Abort("HALT", timeout="2"), TypeError, "the timeout of Abort"),  # type: ignore[arg-type]
    (lambda: lt.Abort("HALT", timeout=True), TypeError, "the timeout of Abort"),
    (lambda: lt.Abort("HALT", reply=bool), TypeError, "the reply of Abort is a pattern"),
    # ById
    pytest.param(lambda: lt.ById("(", r"^(\d)"), ValueError, "command of ById"),
    (lambda: lt.ById("id", r"^(\d+)"), ValueError, "the command of ById is a pattern with one group"),
    (lambda: lt.ById(r"^(\d+)", r"(\d)(\d)"), ValueError, "the reply of ById is a pattern with one group"),
    (lambda: lt.ById(slice(4, 4), r"(\d)"), ValueError, "the command of ById is a slice of no bytes"),
    (lambda: lt.ById(slice(0, 4, 2), r"(\d)"), ValueError, "without a step"),
    (lambda: lt.ById(slice(-4, 8), r"(\d)"), ValueError, "from 0 or more to its end"),
    (lambda: lt.ById(slice(4, None), r"(\d)"), ValueError, "from 0 or more to its end"),
    (lambda: lt.ById(7, r"(\d)"), TypeError, "the command of ById"),  # type: ignore[arg-type]
    (lambda: lt.ById(r"(\d)", None), TypeError, "the reply of ById"),  # type: ignore[arg-type]
    # Check
    (lambda: lt.Check(5, ok="0"), TypeError, "the command of Check"),  # type: ignore[arg-type]
    (lambda: lt.Check("ERR?", ok=5), TypeError, "the ok of Check"),  # type: ignore[arg-type]
    (lambda: lt.Check("ERR?", ok=None), TypeError, "the ok of Check"),  # type: ignore[arg-type]
    # KeepAlive
    (lambda: lt.KeepAlive(1, every=1), TypeError, "the command of KeepAlive"),  # type: ignore[arg-type]
    (lambda: lt.KeepAlive("P", every=0), ValueError, "the every of KeepAlive is more than 0"),
    (lambda: lt.KeepAlive("P", every=-1), ValueError, "the every of KeepAlive is not negative"),
    (lambda: lt.KeepAlive("P", every=math.inf), ValueError, "the every of KeepAlive is finite"),
    (lambda: lt.KeepAlive("P", every=None), TypeError, "the every of KeepAlive"),  # type: ignore[arg-type]
    (lambda: lt.KeepAlive("P", every=1, reply=1), TypeError, "the reply of KeepAlive"),  # type: ignore[arg-type]
    # Break, Reconnect
    (lambda: lt.Break(0), ValueError, "the seconds of Break is more than 0"),
    (lambda: lt.Break(-1), ValueError, "the seconds of Break is not negative"),
    (lambda: lt.Break(61), ValueError, "a break is at most 60 s"),
    (lambda: lt.Break("1"), TypeError, "the seconds of Break"),  # type: ignore[arg-type]
    (lambda: lt.Reconnect(first=-1), ValueError, "the first of Reconnect is not negative"),
    (lambda: lt.Reconnect(first=math.inf), ValueError, "finite"),
    (lambda: lt.Reconnect(limit=0), ValueError, "the limit of Reconnect is more than 0"),
    (lambda: lt.Reconnect(limit=math.inf), ValueError, "finite"),
    (lambda: lt.Reconnect(factor=0.5), ValueError, "the factor of Reconnect is 1 or more"),
    (lambda: lt.Reconnect(factor=math.nan), ValueError, "the factor of Reconnect is 1 or more"),
    (lambda: lt.Reconnect(factor="2"), TypeError, "the factor of Reconnect"),  # type: ignore[arg-type]
    (lambda: lt.Reconnect(give_up=-1), ValueError, "the give_up of Reconnect is not negative"),
    (lambda: lt.Reconnect(give_up="1"), TypeError, "the give_up of Reconnect"),  # type: ignore[arg-type]
    (lambda: lt.Reconnect(ready=5), TypeError, "ready is an async function"),  # type: ignore[arg-type]
    # The options of a link
    (made(match="id"), TypeError, "match is ById(...) or None"),
    (made(match=lt.ById(r"(\d)", r"(\d)"), framing=None), ValueError, "match needs a framing"),
    (made(match=lt.ById(r"(\d)", r"(\d)(?=x)")), ValueError, "give a function"),
    (made(echo="lines"), ValueError, 'echo is True, False or "line"'),
    (made(echo=1), ValueError, "echo is"),
    (made(echo=None), ValueError, "echo is"),
    (made(echo="line", framing=None), ValueError, 'echo="line" needs a framing'),
    (made(unsolicited=5), TypeError, "unsolicited is"),
    (made(unsolicited="(?=x)"), ValueError, "cannot be matched in Rust"),
    (made(unsolicited=bool), TypeError, "unsolicited is a pattern, not a function"),
    (made(unsolicited="x", framing=None), ValueError, "unsolicited needs a framing"),
    (made(error=bool), TypeError, "error is a pattern, not a function"),
    (made(error=r"(a)\1"), ValueError, "cannot be matched in Rust"),
    (made(error="\u20ac"), ValueError, "error is matched byte by byte"),
    (made(error="x", framing=None), ValueError, "error needs a framing"),
    (made(busy=7), TypeError, "busy is"),
    (made(busy="("), ValueError, "unclosed group"),
    (made(busy="x", framing=None), ValueError, "busy needs a framing"),
    (made(check="ERR?"), TypeError, "check is Check(...) or None"),
    (made(check=lt.Check("ERR?", ok="0"), framing=None), ValueError, "check needs a framing"),
    pytest.param(made(check=lt.Check("ERR?\n", ok="0")), ValueError, "the link adds"),
    pytest.param(made(check=lt.Check("ERR?", ok="0"), framing=b"\n"), TypeError, "command of check"),
    (made(keepalive="P"), TypeError, "keepalive is KeepAlive(...) or None"),
    (made(keepalive=lt.KeepAlive("P\n", every=1)), ValueError, "the link adds"),
    (made(keepalive=lt.KeepAlive("P", every=1), framing=b"\n"), TypeError, "the command of keepalive"),
    (made(keepalive=lt.KeepAlive(b"P", every=1), framing=None), ValueError, "the reply of a keepalive needs a framing"),
    (made(keepalive=lt.KeepAlive("P", every=1), match=lt.ById(r"(\d)", r"(\d)")), ValueError, "has no id"),
    (made(gap=-1), ValueError, "gap is not negative"),
    (made(gap=math.inf), ValueError, "gap is finite"),
    (made(gap=None), TypeError, "gap is a number"),
    (made(char_delay=-0.1), ValueError, "char_delay is not negative"),
    (made(char_delay="1"), TypeError, "char_delay is a number"),
    (made(chunk=0), ValueError, "chunk is at least 1"),
    (made(chunk=1.5), TypeError, "chunk is an int"),
    (made(chunk=True), TypeError, "chunk is an int"),
    (made(resync="reset"), TypeError, "resync is Resync"),
    (made(resync=5), TypeError, "resync is Resync"),
    (made(resync=lt.Resync("P\n", "x")), ValueError, "the link adds"),
    (made(resync=lt.Resync("P", bool)), TypeError, "the answer of resync is a pattern"),  # type: ignore[arg-type]
    (made(resync=lt.Resync("P", "(?=x)")), ValueError, "cannot be matched in Rust"),
    (made(reconnect=True), TypeError, "reconnect is Reconnect(...) or None"),
    (made(reconnect={"first": 1}), TypeError, "reconnect is Reconnect(...) or None"),
    (made(keepalve=None), TypeError, "did you mean 'keepalive'"),
    (made(charset="x"), TypeError, "no option 'charset'"),
    # at
    (lambda: link().at(None), TypeError, "address is a str or an int"),  # type: ignore[arg-type]
    (lambda: link().at(True), TypeError, "address is a str or an int"),
    (lambda: link().at("2", send="/{address}"), ValueError, "{body} is missing"),
    (lambda: link().at("2", send=b"{body}"), TypeError, "send is a str"),  # type: ignore[arg-type]
    (lambda: link().at("2", reply=b"x"), TypeError, "reply is a str"),  # type: ignore[arg-type]
    (lambda: link().at("2", reply="/0(.*)"), ValueError, "(?P<body>...) is missing"),
    (lambda: link().at("2", reply="(?=x)(?P<body>.*)"), ValueError, "cannot be matched in Rust"),
    pytest.param(lambda: link().at("2", reply="(?P<body>"), ValueError, "reply"),
    (lambda: link().at("2", name=""), ValueError, "name is empty"),
    (lambda: lt.serial(NOWHERE, framing=None).at("2"), TypeError, "at() needs a link with a framing"),
    # Exchanges
    (lambda: link().exchange(idle=-1), ValueError, "idle is not negative"),
    (lambda: link().exchange(idle="1"), TypeError, "idle is a number"),  # type: ignore[arg-type]
    (lambda: link().exchange(turn=-1), ValueError, "turn is not negative"),
    (lambda: link().exchange(abort=5), TypeError, "the message of Abort"),  # type: ignore[arg-type]
    (lambda: link().exchange(abort="HALT\n"), ValueError, "the link adds"),
    (lambda: link().exchange(abort="\u20ac"), ValueError, "latin-1"),
    (lambda: link().exchange(abort=lt.Abort("HALT", reply="(?!x)")), ValueError, "cannot be matched in Rust"),
    (lambda: link().messages("(?=x)"), ValueError, "give a function"),
]


def link() -> lt.Link[str]:
    """One that cannot be opened."""
    return lt.serial(NOWHERE)


@pytest.mark.parametrize(("call", "kind", "text"), BAD)
def test_bad_arguments_fail_at_the_call(call: Call, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        call()


Misuse = Callable[[lt.Link[str]], Awaitable[object]]

MISUSED: list[Any] = [
    (lambda link: link.query("S", abort=5), TypeError, "the message of Abort"),
    (lambda link: link.query("S", abort="HALT\n"), ValueError, "the link adds"),
    (lambda link: link.query("S", abort="\u20ac"), ValueError, "latin-1"),
    (lambda link: link.query("S", abort=lt.Abort("H", reply="(?=x)")), ValueError, "cannot be matched"),
    (lambda link: link.query("S", on_cancel="stay"), ValueError, "on_cancel is 'leave' or 'finish'"),
    (lambda link: link.query("S", on_cancel=None), ValueError, "on_cancel"),
    (lambda link: link.query("S", retries=-1), ValueError, "retries is at least 0"),
    (lambda link: link.query("S", retries=1.0), TypeError, "retries is an int"),
    (lambda link: link.query("S", retries=True), TypeError, "retries is an int"),
    pytest.param(lambda link: link.query("S", retries=None), TypeError, "retries is an int"),
    (lambda link: link.query("S", retries=1, retry_delay=-1), ValueError, "retry_delay is not negative"),
    (lambda link: link.query("S", retries=1, retry_delay=math.inf), ValueError, "retry_delay is finite"),
    (lambda link: link.query("S", retries=1, retry_delay=None), TypeError, "retry_delay"),
    pytest.param(lambda link: link.query("S", retry_delay=-1), ValueError, "retry_delay is not negative"),
    (lambda link: link.query_all("S", until=0), ValueError, "until is at least 1"),
    (lambda link: link.query_all("S", until=True), TypeError, "until is a pattern, a function or a number"),
    (lambda link: link.query_all("S", until=None), TypeError, "until is a pattern"),
    pytest.param(lambda link: link.query_all("S", until=1.5), TypeError, "until is"),
    pytest.param(lambda link: link.query_all("S", until="("), ValueError, "until"),
    pytest.param(lambda link: link.query_all("S\n", until=1), ValueError, "the link adds"),
    pytest.param(lambda link: link.query_all(5, until=1), TypeError, "is str, bytes or Raw"),
    (lambda link: link.query_all("S", until=1, idle=-1), ValueError, "idle is not negative"),
    (lambda link: link.query_all("S", until=1, timeout=-1), ValueError, "timeout is not negative"),
    pytest.param(lambda link: link.query_all("S", until=1, framing=""), ValueError, "terminator"),
    (lambda link: link.query_all("S", until=1, abort=lt.Abort("H", reply="(?=x)")), ValueError, "cannot be"),
    (lambda link: link.wait_until("S", bool, every=-1, timeout=1), ValueError, "every is not negative"),
    (lambda link: link.wait_until("S", bool, every=math.inf, timeout=1), ValueError, "every is finite"),
    (lambda link: link.wait_until("S", bool, every=None, timeout=1), TypeError, "every is"),
    (lambda link: link.wait_until("S", bool, timeout=None), TypeError, "timeout is"),
    (lambda link: link.wait_until("S", bool, timeout=-1), ValueError, "timeout is not negative"),
    (lambda link: link.wait_until("S", "ready", timeout=1), TypeError, "predicate is a function"),
    (lambda link: link.wait_until("S\n", bool, timeout=1), ValueError, "the link adds"),
    (lambda link: link.wait_until("S", bool, timeout=1, retries=-1), ValueError, "retries is at least 0"),
    (lambda link: link.set_lines(), ValueError, "set_lines needs dtr or rts"),
    (lambda link: link.set_lines(dtr=1), TypeError, "dtr is a bool"),
    (lambda link: link.set_lines(rts="low"), TypeError, "rts is a bool"),
    (lambda link: link.configure(), ValueError, "configure needs one of baudrate"),
    (lambda link: link.configure(baudrate=0), ValueError, "baudrate is at least 1"),
    (lambda link: link.configure(baudrate="9600"), TypeError, "baudrate is an int"),
    (lambda link: link.configure(parity="X"), ValueError, "parity is one of"),
    (lambda link: link.configure(bytesize=9), ValueError, "bytesize is"),
    (lambda link: link.configure(stopbits=3), ValueError, "stopbits is 1, 1.5 or 2"),
    (lambda link: link.configure(rtscts="on"), TypeError, "rtscts is a bool"),
    (lambda link: link.configure(baudrate=9600, turn=-1), ValueError, "turn is not negative"),
    (lambda link: link.send_break(0), ValueError, "a break is more than 0"),
    (lambda link: link.send_break(61), ValueError, "at most 60 s"),
    (lambda link: link.send_break(-1), ValueError, "seconds is not negative"),
    (lambda link: link.send_break(None), TypeError, "seconds is a number"),
    (lambda link: link.send_break(0.1, turn=-1), ValueError, "turn is not negative"),
    (lambda link: link.drain(timeout=-1), ValueError, "timeout is not negative"),
    (lambda link: link.drain(timeout="1"), TypeError, "timeout is a number"),
]


@pytest.mark.parametrize(("call", "kind", "text"), MISUSED)
def test_bad_arguments_of_methods_fail_before_anything_is_opened(
    call: Misuse, kind: type[Exception], text: str
) -> None:
    made = link()
    with pytest.raises(kind, match=re.escape(text)):
        run(call(made))
    assert made.state == "closed"
    assert not [event for event in made.trace() if event.direction != "!"]


def run(pending: Awaitable[object]) -> None:
    """Its first step, which is where it looks at its arguments."""
    steps: Iterator[Any] = pending.__await__()
    with pytest.raises(StopIteration):
        next(steps)


def test_a_command_without_an_id_is_said_to_have_none() -> None:
    made = lt.serial(NOWHERE, match=lt.ById(r"^#(\d+)", r"^#(\d+)"))
    with pytest.raises(ValueError, match="has no id"):
        run(made.query("S"))


def test_what_a_check_cannot_be_combined_with() -> None:
    made = lt.serial(NOWHERE, check=lt.Check("ERR?", ok="^0"))
    with pytest.raises(ValueError, match="on_cancel"):
        run(made.query("S", on_cancel="finish"))
    with pytest.raises(ValueError, match="framed"):
        run(made.query(lt.Raw(b"S\n")))
