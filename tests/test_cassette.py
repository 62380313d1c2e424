"""Cassettes: recorded from a live instrument once, and played back from then on; and the option that chooses."""

import random
import textwrap
from pathlib import Path

import pytest
import serial

import labtether as lt
from labtether.testing import CassetteOff, ProtocolMismatch, cassette, read_recording
from labtether.testing._cassette import cassette_file
from support import PtyInstrument, TcpInstrument, replies
from support.runs import run_pytest

ANSWERS = {b"*IDN?": b"ACME,PSU,1.0\n", b"DUMP": bytes(range(256)).replace(b"\n", b"") + b"\n"}


def converse(link: lt.Link[str]) -> list[str]:
    """A test's own code: it does not know what it talks to."""
    with link.sync as psu:
        return [psu.query("*IDN?"), psu.query("DUMP")]


def test_a_live_session_is_recorded_and_played_back(tmp_path: Path) -> None:
    file = tmp_path / "cassettes" / "psu.jsonl"
    with PtyInstrument(replies(ANSWERS)) as psu:
        live = f"{psu.url}?baudrate=19200"
        with cassette("psu", live, path=file, mode="record") as recorded:
            assert (recorded.replayed, recorded.url) == (None, live)
            said = converse(recorded.link(timeout=3))
    assert [path.name for path in file.parent.iterdir()] == ["psu.jsonl"]
    with cassette("psu", live, path=file) as played:
        link = played.link(timeout=3)
        assert link.url.endswith("?baudrate=19200")
        assert converse(link) == said
        played.check()
        assert repr(played) == f"<Cassette psu replay {file}>"


@pytest.mark.parametrize("sizes", [[1], [2, 3], [10_000]])
def test_a_cassette_of_a_live_pty_session_replays_byte_for_byte_whatever_the_sizes_of_reads(
    tmp_path: Path, sizes: list[int]
) -> None:
    file = tmp_path / "psu.jsonl"
    rng = random.Random(3)
    with PtyInstrument(lambda _: rng.randbytes(rng.randrange(3000)).replace(b"\n", b"") + b"\n") as psu:
        with cassette("psu", psu.url, path=file, mode="record") as recorded, recorded.link(framing=b"\n").sync as link:
            for number in range(20):
                link.query(b"READ %d" % number)
    recording = read_recording(file)
    assert len(recording.said) > 10_000
    with cassette("psu", path=file, pace=0) as played, serial.Serial(played.port, timeout=10) as port:
        said = b""
        for number, wanted in enumerate(recording.said.split(b"\n")[:-1]):
            command, message = b"READ %d\n" % number, b""
            while command:
                port.write(command[: sizes[0]])
                command = command[sizes[0] :]
            while not message.endswith(b"\n"):
                # As a driver would read: by so many bytes, or what there is.
                message += port.read(min(rng.choice(sizes), len(wanted) + 1 - len(message)))
            said += message
        assert said == recording.said
        played.check()


def test_a_cassette_is_where_the_real_one_was(tmp_path: Path) -> None:
    with TcpInstrument(replies(ANSWERS)) as psu:
        with cassette("psu", psu.url, path=tmp_path / "psu.jsonl", mode="record") as recorded:
            said = converse(recorded.link())
    with cassette("psu", path=tmp_path / "psu.jsonl") as played:
        assert played.port.startswith("socket://")
        assert converse(played.link()) == said
    with cassette("psu", path=tmp_path / "psu.jsonl", transport="pty") as moved:
        assert moved.port.startswith("/")
        assert converse(moved.link()) == said


def test_a_host_that_says_something_else_does_not_follow_the_cassette(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    with PtyInstrument(replies(ANSWERS)) as psu, cassette("psu", psu.url, path=file, mode="record") as recorded:
        converse(recorded.link())
    with cassette("psu", path=file) as played, played.link().sync as link:
        link.query("*IDN?")
        with pytest.raises(ProtocolMismatch, match=r"6 bytes were heard, 5 are missing\n  - DUMP"):
            played.check()


def test_live_uses_the_real_one_and_records_nothing(tmp_path: Path) -> None:
    with PtyInstrument(replies(ANSWERS)) as psu:
        with cassette("psu", psu.url, path=tmp_path / "psu.jsonl", mode="live") as used:
            assert used.port == psu.port
            converse(used.link())
            used.check()
    with TcpInstrument() as far, cassette("psu", far.url, path=tmp_path / "psu.jsonl", mode="live") as used:
        assert used.port == f"socket://127.0.0.1:{far.port}"
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_failed_leaves_the_cassette_alone(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    file.write_text("the old one")
    with PtyInstrument(replies(ANSWERS)) as psu:
        with pytest.raises(KeyError), cassette("psu", psu.url, path=file, mode="record") as recorded:
            converse(recorded.link())
            raise KeyError("the test fails")
        assert file.read_text() == "the old one"
        assert read_recording(file.with_name("psu.jsonl.new")).sent == b"*IDN?\nDUMP\n"
        with cassette("psu", psu.url, path=file, mode="record") as recorded:
            recorded.link()
            with pytest.raises(ValueError, match="there is one already"):
                recorded.link()
            with pytest.raises(ValueError, match="only links of labtether are recorded"):
                _ = recorded.port
    assert read_recording(file).events == ()


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    file = tmp_path / "psu.jsonl"
    with pytest.raises(FileNotFoundError, match="run the test once with --instruments=record") as missing:
        cassette("psu", path=file)
    assert missing.value.filename == str(file)
    for mode in ("record", "live"):
        with pytest.raises(ValueError, match=rf"to {mode} it, say where the real one is: cassette\('psu', live=url\)"):
            cassette("psu", path=file, mode=mode)
    with pytest.raises(CassetteOff):
        cassette("psu", path=file, mode="off")
    with pytest.raises(ValueError, match="instruments are one of replay, record, live, off, not 'once'"):
        cassette("psu", path=file, mode="once")


def test_a_cassette_is_kept_beside_its_test() -> None:
    assert cassette_file("psu", "/lab/tests/test_psu.py", "test_idn[a/b c]") == Path(
        "/lab/tests/cassettes/test_psu/test_idn_a_b_c/psu.jsonl"
    )
    assert cassette_file("psu.1", "/lab/tests/test_psu.py", "test_idn").name == "psu.1.jsonl"
    assert cassette_file("..", "/lab/tests/test_psu.py", "/").name == "_.jsonl"


# -- in a run of pytest ------------------------------------------------------------------------------------------------

TEST = """
    import pytest

    URL = {url!r}

    def test_idn(labsim):
        psu = labsim.cassette("psu", live=URL)
        with psu.link().sync as link:
            assert link.query("*IDN?") == "ACME,PSU,1.0"

    def test_fails(labsim):
        psu = labsim.cassette("psu", live=URL)
        with psu.link().sync as link:
            link.query("*IDN?")
            assert link.query("DUMP") == "nothing"
"""


def test_a_run_chooses_what_instruments_are_used(tmp_path: Path) -> None:
    test = tmp_path / "test_psu.py"
    with PtyInstrument(replies(ANSWERS)) as psu:
        test.write_text(textwrap.dedent(TEST.format(url=psu.url)))
        last, shown = run_pytest(test)
        assert last == "2 failed"
        assert "run the test once with --instruments=record" in shown
        assert run_pytest(test, "--instruments=live")[0] == "1 failed, 1 passed"
        assert run_pytest(test, "--instruments=record")[0] == "1 failed, 1 passed"
        kept = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jsonl*"))
        assert kept == ["cassettes/test_psu/test_fails/psu.jsonl.new", "cassettes/test_psu/test_idn/psu.jsonl"]
        heard = len(psu.heard)
        assert run_pytest(test, "-k", "idn")[0] == "1 passed, 1 deselected"
        last, shown = run_pytest(test, "--instruments=off")
        assert last == "2 skipped"
        assert "no instruments in this run (--instruments=off)" in shown
        assert len(psu.heard) == heard
    test.write_text(test.read_text().replace('link.query("*IDN?") == "ACME', 'link.query("*IDN?", timeout=1) == "ACME'))
    test.write_text(test.read_text().replace("*IDN?", "*idn?"))
    last, shown = run_pytest(test, "-k", "idn")
    assert last == "1 failed, 1 deselected"
    assert "wire of psu" in shown
