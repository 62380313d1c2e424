"""TLS, against Python's own `ssl`: whom a link believes, what it says of those it does not, and how it ends."""

from __future__ import annotations

import math
import pickle
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

import labtether as lt
from support.encrypted import TlsInstrument
from support.logs import Told


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def lab(authority: trustme.CA) -> bytes:
    """The authority's certificate."""
    return authority.cert_pem.bytes()


def server(authority: trustme.CA, *names: str, clients: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
    if clients is not None:
        clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def refused(link: lt.Link[str]) -> str:
    with pytest.raises(lt.OpenFailed) as caught:
        await link.setup()
    assert caught.value.kind == "refused"
    assert link.state == "closed"
    return str(caught.value)


# -- Talking -----------------------------------------------------------------------------------------------------------


async def test_an_encrypted_link_asks_and_is_answered(authority: trustme.CA, lab: bytes) -> None:
    with TlsInstrument(server(authority)) as instrument:
        async with lt.tcp(instrument.host, instrument.port, tls=lt.Tls(ca=lab)) as link:
            assert [await link.query(f"S{n}") for n in range(20)] == [f"<S{n}>" for n in range(20)]
            assert "TLS" in repr(link)
        # It said goodbye, or `ssl` would have raised.
        assert instrument.end() == b"".join(b"S%d\n" % n for n in range(20))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken(authority: trustme.CA, lab: bytes, version: ssl.TLSVersion) -> None:
    context = server(authority)
    context.minimum_version = context.maximum_version = version
    with TlsInstrument(context) as instrument:
        with lt.tcp(instrument.host, instrument.port, tls=lt.Tls(ca=lab)).sync as link:
            assert link.query("S") == "<S>"
        assert instrument.end() == b"S\n"


async def test_long_messages_come_whole(authority: trustme.CA, lab: bytes) -> None:
    long = "x" * 300_000
    with TlsInstrument(server(authority)) as instrument:
        framing = lt.Lines(max_length=1_000_000)
        async with lt.tcp(instrument.host, instrument.port, framing=framing, tls=lt.Tls(ca=lab)) as link:
            assert await link.query(long) == f"<{long}>"


async def test_the_output_ends_and_replies_still_come(authority: trustme.CA, lab: bytes) -> None:
    received = threading.Event()

    def talk(line: ssl.SSLSocket) -> bytes:
        heard = b""
        while piece := line.recv(1000):
            heard += piece
        line.sendall(b"got it\n")
        # A link whose other side has hung up is lost, whatever it said before.
        received.wait(20)
        return heard

    with TlsInstrument(server(authority), talk) as instrument:
        async with lt.tcp(instrument.host, instrument.port, tls=lt.Tls(ca=lab)) as link:
            await link.send("all")
            await link.write_eof()
            assert await link.receive() == "got it"
            received.set()
            assert instrument.end() == b"all\n"


async def test_a_connection_that_is_cut_is_lost_and_says_so(authority: trustme.CA, lab: bytes) -> None:
    def break_off(line: ssl.SSLSocket) -> None:
        line.recv(1000)
        # Without the goodbye that `SSLSocket.unwrap` would say.
        socket.socket(fileno=line.detach()).close()

    with TlsInstrument(server(authority), break_off) as instrument:
        async with lt.tcp(instrument.host, instrument.port, tls=lt.Tls(ca=lab)) as link:
            with pytest.raises(lt.LinkLost, match="without TLS's goodbye"):
                await link.query("S")


async def test_a_close_does_not_wait_for_one_who_does_not_read(authority: trustme.CA, lab: bytes) -> None:
    silent = threading.Event()
    with TlsInstrument(server(authority), lambda _line: silent.wait(20)) as instrument:
        try:
            link = lt.tcp(instrument.host, instrument.port, framing=None, close_timeout=0.1, tls=lt.Tls(ca=lab))
            await link.setup()
            with pytest.raises(lt.LinkTimeout):
                await link.write(b"x" * 20_000_000, timeout=0.3)
            await link.stop()
        finally:
            silent.set()


# -- Opening -----------------------------------------------------------------------------------------------------------


async def test_a_server_that_says_nothing_is_given_up_after_connect_timeout(lab: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        text = await refused(lt.tcp(host, port, connect_timeout=0.2, tls=lt.Tls(ca=lab)))
        assert "0.2 s" in text
        peer, _ = silent.accept()
        with peer:
            peer.settimeout(20)
            while peer.recv(1000):
                pass


async def test_a_cancelled_handshake_leaves_nothing(lab: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        link = lt.tcp(host, port, connect_timeout=math.inf, tls=lt.Tls(ca=lab))
        with anyio.move_on_after(0.1) as scope:
            await link.setup()
        assert scope.cancelled_caught
        assert link.state == "closed"
        peer, _ = silent.accept()
        with peer:
            peer.settimeout(20)
            while peer.recv(1000):
                pass


async def test_what_does_not_speak_tls_is_told_so(lab: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        host, port = plain.getsockname()

        def greet() -> None:
            peer, _ = plain.accept()
            with peer:
                peer.sendall(b"220 the balance welcomes you\r\n")
                peer.settimeout(20)
                while peer.recv(1000):
                    pass

        thread = threading.Thread(target=greet, name="test-plain")
        thread.start()
        assert "does not speak TLS: leave out tls=" in await refused(lt.tcp(host, port, tls=lt.Tls(ca=lab)))
        await anyio.to_thread.run_sync(thread.join)


# -- Trust -------------------------------------------------------------------------------------------------------------


async def test_an_unknown_authority_is_refused_with_the_cure(authority: trustme.CA) -> None:
    stranger = trustme.CA(organization_name="Elsewhere")
    with TlsInstrument(server(authority)) as instrument:
        for tls in (lt.Tls(ca=stranger.cert_pem.bytes()), True):
            text = await refused(lt.tcp(instrument.host, instrument.port, tls=tls))
            assert "certificate" in text
            assert "ca=" in text
            # The instrument is told, and gets no byte that was meant for it.
            assert isinstance(instrument.end(), OSError)


async def test_a_certificate_for_another_name_is_refused_and_believed_under_its_own(
    authority: trustme.CA, lab: bytes
) -> None:
    with TlsInstrument(server(authority, "scale.lab")) as instrument:
        text = await refused(lt.tcp(instrument.host, instrument.port, tls=lt.Tls(ca=lab)))
        assert "is for scale.lab and is not for 127.0.0.1: give server_name=" in text
        instrument.end()
        named = lt.Tls(ca=lab, server_name="scale.lab")
        async with lt.tcp(instrument.host, instrument.port, tls=named) as link:
            assert await link.query("S") == "<S>"


async def test_who_does_not_verify_is_warned(authority: trustme.CA, told: Told) -> None:
    with TlsInstrument(server(authority, "elsewhere.lab")) as instrument:
        async with lt.tcp(instrument.host, instrument.port, name="scale", tls=lt.Tls(verify=False)) as link:
            assert await link.query("S") == "<S>"
    assert told.wait_for("verify=False: whoever answers").levelname == "WARNING"


async def test_an_instrument_that_asks_who_we_are_is_told(authority: trustme.CA, lab: bytes, tmp_path: Path) -> None:
    mine = authority.issue_cert("me.lab")
    cert, key, both = tmp_path / "me.pem", tmp_path / "me.key", tmp_path / "both.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in mine.cert_chain_pems))
    mine.private_key_pem.write_to_path(str(key))
    mine.private_key_and_cert_chain_pem.write_to_path(str(both))
    with TlsInstrument(server(authority, clients=authority)) as instrument:
        for tls in (lt.Tls(ca=lab, cert=cert, key=str(key)), lt.Tls(ca=lab, cert=both)):
            async with lt.tcp(instrument.host, instrument.port, tls=tls) as link:
                assert await link.query("S") == "<S>"
            assert instrument.end() == b"S\n"
        # TLS 1.3 tells only after it was agreed on.
        link = lt.tcp(instrument.host, instrument.port, tls=lt.Tls(ca=lab))
        with pytest.raises((lt.LinkLost, lt.OpenFailed), match="wants a certificate of ours"):
            async with link:
                await link.query("S")


# -- Arguments ---------------------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_errors_at_the_call(tmp_path: Path) -> None:
    def text(**arguments: object) -> str:
        with pytest.raises(ValueError) as caught:
            lt.tcp("localhost", 5025, tls=lt.Tls(**arguments))  # type: ignore[arg-type]
        return str(caught.value)

    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("no certificate\n")
    assert text(ca=missing) == f"ca={str(missing)!r}: it cannot be read: No such file or directory"
    assert text(ca=str(empty)) == f"ca={str(empty)!r}: there is no PEM certificate in it"
    assert text(ca=tmp_path).endswith("it cannot be read: Is a directory")
    assert text(ca=b"") == "ca=<0 bytes>: there is no PEM certificate in it"
    assert text(cert=empty).startswith(f"cert={str(empty)!r}: ")
    mine, other = trustme.CA().issue_cert("a"), trustme.CA().issue_cert("b")
    cert, key = mine.cert_chain_pems[0].bytes(), other.private_key_pem.bytes()
    assert "the private key is not that of the certificate" in text(cert=cert, key=key)
    assert text(server_name="not a name").endswith("give server_name= as the certificate has it")


def test_what_makes_no_sense_is_an_error_at_once() -> None:
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"verify": False, "ca": "lab.pem"}, "give one of them"),
        ({"key": "me.key"}, "no use without cert"),
        ({"ca": "-----BEGIN CERTIFICATE-----"}, "given as bytes"),
        ({"server_name": " "}, "server_name is empty"),
    ]
    for wrong, match in wrongs:
        with pytest.raises(ValueError, match=match):
            lt.Tls(**wrong)
    others: list[dict[str, Any]] = [{"ca": 5}, {"verify": 1}, {"verify": None}, {"server_name": 5}]
    for other in others:
        with pytest.raises(TypeError):
            lt.Tls(**other)
    with pytest.raises(TypeError, match="tls is True"):
        lt.tcp("localhost", 5025, tls="yes")  # type: ignore[call-overload]


def test_a_key_is_not_shown() -> None:
    tls = lt.Tls(ca="lab.pem", cert=b"secret", key=b"secret", server_name="scale.lab")
    assert repr(tls) == "Tls(ca='lab.pem', cert=<6 bytes>, key=<6 bytes>, server_name='scale.lab')"
    assert repr(lt.Tls(verify=False)) == "Tls(verify=False)"
    assert pickle.loads(pickle.dumps(tls)) == tls
    assert hash(tls) == hash(lt.Tls(ca="lab.pem", cert=b"secret", key=b"secret", server_name="scale.lab"))


def test_a_url_can_ask_for_it() -> None:
    for url in ("tcp://scale.lab:5025?tls=true", "tcp://scale.lab:5025?tls=yes"):
        assert lt.link(url).url == "tcp://scale.lab:5025?tls=true"
    assert lt.link("tcp://scale.lab:5025?tls=false").url == "tcp://scale.lab:5025"
    assert lt.link("tcp://scale.lab:5025", tls=True).url == "tcp://scale.lab:5025?tls=true"
