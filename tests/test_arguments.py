"""Bad input is a clear ValueError or TypeError at the call, before anything is opened."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import labtether as lt

Call = Callable[[], Any]

BAD: list[tuple[Call, type[Exception], str]] = [
    (lambda: lt.serial(""), ValueError, "port is empty"),
    (lambda: lt.serial("a\0b"), ValueError, "NUL"),
    (lambda: lt.serial(3), TypeError, "port is a path"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", 0), ValueError, "baudrate is at least 1"),
    (lambda: lt.serial("x", 9600.0), TypeError, "baudrate is an int"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", 1 << 40), ValueError, "baudrate is at most"),
    (lambda: lt.serial("x", bytesize=9), ValueError, "bytesize"),
    (lambda: lt.serial("x", bytesize=4), ValueError, "bytesize"),
    (lambda: lt.serial("x", parity="X"), ValueError, "parity is one of N, E, O, M, S"),
    (lambda: lt.serial("x", stopbits=3), ValueError, "stopbits is 1, 1.5 or 2"),
    (lambda: lt.serial("x", rtscts=1), TypeError, "rtscts is a bool"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", dtr="low"), TypeError, "dtr is a bool"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", timeout=-1), ValueError, "timeout is not negative"),
    (lambda: lt.serial("x", timeout=math.nan), ValueError, "timeout"),
    (lambda: lt.serial("x", timeout=True), TypeError, "timeout is a number of seconds"),
    (lambda: lt.serial("x", timeout=None), TypeError, "math.inf"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", name=""), ValueError, "name"),
    (lambda: lt.serial("x", name="  "), ValueError, "name is empty"),
    (lambda: lt.serial("x", framing=7), TypeError, "framing is Lines"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", framing=""), ValueError, "terminator"),
    (lambda: lt.serial("x", setle=0.1), TypeError, "did you mean 'settle'"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", banana=1), TypeError, "no option 'banana'"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", settle=-1), ValueError, "settle is not negative"),
    (lambda: lt.serial("x", drain=math.inf), ValueError, "drain is finite"),
    (lambda: lt.serial("x", trace=-1), ValueError, "trace"),
    (lambda: lt.serial("x", park=5), TypeError, "park is str, bytes or Raw"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", framing=b"\n", park="P"), TypeError, "park"),
    (lambda: lt.serial("x", park="P\n"), ValueError, "the link adds"),
    (lambda: lt.serial("x", resync=("PING", "PONG")), TypeError, "resync is Resync"),  # type: ignore[call-overload]
    (lambda: lt.serial("x", framing=None, resync=lt.Resync(b"a", b"b")), ValueError, "resync needs a framing"),
    (lambda: lt.Usb(), ValueError, "Usb needs a vid"),
    (lambda: lt.Usb(vid=0x10000), ValueError, "vid is between"),
    (lambda: lt.Usb(vid="1a86"), TypeError, "vid is an int"),  # type: ignore[arg-type]
    (lambda: lt.tcp("", 1), ValueError, "host is empty"),
    (lambda: lt.tcp("h", 0), ValueError, "port is at least 1"),
    (lambda: lt.tcp("h", 70000), ValueError, "port is at most 65535"),
    (lambda: lt.tcp("h", "5025"), TypeError, "port is an int"),  # type: ignore[call-overload]
    (lambda: lt.tcp("h", 1, connect_timeout=-1), ValueError, "connect_timeout"),
    (lambda: lt.link(""), ValueError, "url is empty"),
    (lambda: lt.link("/dev/ttyUSB0"), ValueError, "is not a url"),
    (lambda: lt.link("gpib://3"), ValueError, "no gpib:// links"),
    (lambda: lt.link("serial://"), ValueError, "names no port"),
    (lambda: lt.link("tcp://host"), ValueError, "tcp://host:5025"),
    (lambda: lt.link("tcp://host:port"), ValueError, "port number"),
    (lambda: lt.link("tcp://host:5025/path"), ValueError, "not of the form"),
    (lambda: lt.link("serial:///dev/x?baudrate=fast"), ValueError, "baudrate is a whole number"),
    (lambda: lt.link("serial:///dev/x?baudrate"), ValueError, "name=value"),
    (lambda: lt.link("serial:///dev/x?bauds=1"), ValueError, "no setting 'bauds'"),
    (lambda: lt.link("serial:///dev/x?rtscts=maybe"), ValueError, "true or false"),
    (lambda: lt.link("sim://toaster"), ValueError, "there is 'balance'"),
    (lambda: lt.Lines(""), ValueError, "terminator"),
    (lambda: lt.Lines(()), ValueError, "terminator"),
    (lambda: lt.Lines(("\r", "\r\n")), ValueError, "terminator"),
    (lambda: lt.Lines("\n", encoding="klingon"), ValueError, "no encoding"),
    (lambda: lt.Lines("\n", max_length=0), ValueError, "max_length"),
    (lambda: lt.Lines(5), TypeError, "terminator is str"),  # type: ignore[arg-type]
    (lambda: lt.Raw("text"), TypeError, "Raw takes bytes"),  # type: ignore[arg-type]
    (lambda: lt.number("none here"), ValueError, "no number"),
    (lambda: lt.ports(vid=-1), ValueError, "vid"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD)
def test_bad_arguments_fail_at_the_call(call: Call, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        call()


MISUSED: list[tuple[Callable[[lt.Link[str]], Any], type[Exception], str]] = [
    (lambda link: link.query("S\n"), ValueError, "the link adds"),
    (lambda link: link.query(5), TypeError, "a command is str, bytes or Raw"),  # type: ignore[call-overload]
    (lambda link: link.query("S", timeout=-1), ValueError, "timeout is not negative"),
    (lambda link: link.query("S", turn="now"), TypeError, "turn is a number"),  # type: ignore[call-overload]
    (lambda link: link.query("S", framing=""), ValueError, "terminator"),
    (lambda link: link.query("\u20ac"), ValueError, "latin-1"),
    (lambda link: link.send("S\n"), ValueError, "the link adds"),
    (lambda link: link.receive(match="(?=a)b"), ValueError, "give a function"),
    (lambda link: link.receive(match=r"(a)\1"), ValueError, "give a function"),
    (lambda link: link.receive(match=7), TypeError, "match is str"),  # type: ignore[arg-type]
    (lambda link: link.receive(match="\u20ac"), ValueError, "is not one byte in"),
    (lambda link: link.read(1), TypeError, "framing=None"),
    (lambda link: link.write(b"x"), TypeError, "framing=None"),
]


@pytest.mark.parametrize(("call", "kind", "text"), MISUSED)
async def test_bad_arguments_of_methods_fail_before_anything_is_sent(
    call: Callable[[lt.Link[str]], Any], kind: type[Exception], text: str
) -> None:
    link = lt.serial("/dev/null/there/is/nothing")
    with pytest.raises(kind, match=re.escape(text)):
        await call(link)
    assert link.state == "closed"


def test_iterators_check_their_arguments_when_they_are_made() -> None:
    link = lt.serial("/dev/null/there/is/nothing")
    with pytest.raises(ValueError, match="every is not negative"):
        link.poll("S", every=-1)
    with pytest.raises(ValueError, match="on_error"):
        link.poll("S", every=1, on_error="shrug")
    with pytest.raises(ValueError, match="count is at least 1"):
        link.poll("S", every=1, count=0)
    with pytest.raises(ValueError, match="capacity"):
        link.messages(capacity=0)
    with pytest.raises(ValueError, match="timeout"):
        link.exchange(timeout=-1)


def test_patterns_and_numbers() -> None:
    assert lt.number("S S      42.00000 g") == 42
    assert lt.numbers("0 113 -81 .5 2e3") == [0, 113, -81, 0.5, 2000]
    assert lt.number(b"+1.5E-3V") == 0.0015


def test_names_and_urls() -> None:
    link = lt.link("serial:///dev/ttyUSB7?baudrate=115200&parity=E&timeout=2", name="psu")
    assert (link.name, link.timeout, link.state) == ("psu", 2.0, "closed")
    assert lt.serial("/dev/ttyUSB7").name == "ttyUSB7"
    assert lt.link(link.url).url == link.url
    assert lt.tcp("::1", 5025).url == "tcp://[::1]:5025"
    assert lt.link("tcp://[::1]:5025").name == "[::1]:5025"
    assert repr(link) == "<Link psu /dev/ttyUSB7 115200 8E1 closed>"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"baudrate": 19200, "bytesize": 7, "parity": "E", "stopbits": 1.5},
        {"xonxoff": True, "exclusive": False, "dtr": False, "rts": True},
    ],
)
def test_a_url_says_every_setting(settings: dict[str, Any]) -> None:
    link = lt.serial("/dev/odd name?#1", **settings)
    again = lt.link(link.url, name=link.name)
    assert (again.url, repr(again)) == (link.url, repr(link))
    for name, value in settings.items():
        assert f"{name}={str(value).lower() if isinstance(value, bool) else value}" in link.url


@pytest.mark.parametrize(
    "framing", [lt.Lines(), lt.Lines(("\r", b">"), send_terminator="", encoding="utf8", keep=True)]
)
def test_a_framing_can_be_sent_to_another_process(framing: lt.Lines) -> None:
    assert pickle.loads(pickle.dumps(framing)) == framing
    assert copy.deepcopy(framing) == framing
