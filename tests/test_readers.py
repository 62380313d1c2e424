"""Files of other programs: what is read from them, and what they are said not to tell. The fixtures are written after
the published formats: pyvisa-sim's docs/source/definitions.rst, pytest-reserial 0.6's write_log and update_log.py,
PyLabRobot's io/capture.py."""

import base64
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from labtether.testing import Comment, ReadingLoss, Said, Sent
from labtether.testing.readers import from_pairs, read_pylabrobot, read_pyvisa_sim, read_reserial

pytestmark = pytest.mark.filterwarnings("ignore::labtether.testing.ReadingLoss")


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


# -- pytest-reserial ---------------------------------------------------------------------------------------------------

UTF8 = {"test_idn": {"rx_encoding": "utf-8", "tx_encoding": "utf-8", "rx": "ACME\r\n", "tx": "*IDN?\n"}}
BINARY = {"test_dump": {"rx": base64.b64encode(b"\xff\x00").decode(), "tx_encoding": "utf-8", "tx": "DUMP\n"}}


def test_reserial_files_of_all_versions_are_read(tmp_path: Path) -> None:
    lines = written(tmp_path / "test_psu.jsonl", f"{json.dumps(UTF8)}\n{json.dumps(BINARY)}\n")
    assert read_reserial(lines, "test_idn").transcript.said == b"ACME\r\n"
    assert read_reserial(lines, "test_dump").transcript.said == b"\xff\x00"
    assert read_reserial(lines, "test_dump").transcript.sent == b"DUMP\n"
    old = written(tmp_path / "old.json", {"test_idn": {"rx": [65, 255], "tx": [66, 10]}})
    assert read_reserial(old).transcript.steps[1:] == (Sent(b"B\n"), Said(b"A\xff"))


@pytest.mark.parametrize(
    ("sent", "said", "steps"),
    [
        ("A\nB\n", "a\nb\n", (Sent(b"A\n"), Said(b"a\n"), Sent(b"B\n"), Said(b"b\n"))),
        ("OUTP ON\nV?\n", "1\n", (Sent(b"OUTP ON\n"), Sent(b"V?\n"), Said(b"1\n"))),
        ("A\nB\n", "1\n2\n3\n", (Sent(b"A\n"), Said(b"1\n2\n3\n"), Sent(b"B\n"))),
        ("A\n", "", (Sent(b"A\n"),)),
    ],
)
def test_reserial_replies_are_given_to_commands_where_they_can_be(
    tmp_path: Path, sent: str, said: str, steps: tuple[Any, ...]
) -> None:
    log = {"tx": sent, "rx": said, "tx_encoding": "utf-8", "rx_encoding": "utf-8"}
    read = read_reserial(written(tmp_path / "t.jsonl", {"test": log}), framing="\n")
    assert read.transcript.steps[1:] == steps
    assert any("which reply belongs to which command" in one for one in read.cannot_tell)


def test_what_is_lost_is_told_once_for_each_file(tmp_path: Path) -> None:
    file = written(tmp_path / "t.jsonl", UTF8)
    with pytest.warns(ReadingLoss, match="does not say when anything was sent or said; which reply"):
        read_reserial(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_reserial(file)


@pytest.mark.parametrize(
    ("content", "test", "why"),
    [
        (UTF8 | BINARY, None, "has 2 tests, name one: test_idn, test_dump"),
        (UTF8, "test_x", "no test 'test_x'; there are test_idn"),
        ("{}", None, "no tests in it"),
        ("[1]", None, "objects, not list"),
        ('{"a": {"rx": ""}}', None, "no rx and tx"),
        ('{"a": {"rx": "?", "tx": ""}}', None, "rx cannot be read"),
        ('{"a": {"rx": "", "tx": "", "tx_encoding": "ebcdic"}}', None, "utf-8 or base64, not 'ebcdic'"),
        ('{"a": {"rx": "", "tx": ""}}\nnonsense', None, "t.jsonl:2: this is no line"),
    ],
)
def test_what_is_no_reserial_file_is_told(tmp_path: Path, content: Any, test: str | None, why: str) -> None:
    with pytest.raises(ValueError) as error:
        read_reserial(written(tmp_path / "t.jsonl", content), test)
    assert why in str(error.value)


# -- PyLabRobot --------------------------------------------------------------------------------------------------------


def capture(*rows: tuple[str, str, str, str]) -> dict[str, Any]:
    commands = [dict(zip(("module", "device_id", "action", "data"), row, strict=True)) for row in rows]
    return {"version": "0.2.2", "commands": commands}


def test_a_capture_of_pylabrobot_is_read(tmp_path: Path) -> None:
    file = written(
        tmp_path / "validation.json",
        capture(
            ("serial", "/dev/ttyUSB0", "write", "S\r\n"),
            ("serial", "/dev/ttyUSB0", "reset_input_buffer", ""),
            ("socket", "host:5025", "write", "ff00"),
            ("serial", "/dev/ttyUSB0", "read", "S"),
            ("serial", "/dev/ttyUSB0", "read", ""),
            ("serial", "/dev/ttyUSB0", "readline", " \xff\r\n"),
            ("socket", "host:5025", "readuntil:0a", "41420a"),
        ),
    )
    serial = read_pylabrobot(file, "/dev/ttyUSB0", framing="\r\n")
    assert serial.transcript.steps == (
        Comment("/dev/ttyUSB0, captured by PyLabRobot"),
        Sent(b"S\r\n"),
        Comment("reset_input_buffer"),
        Said(b"S"),
        Said(b" \xff\r\n"),
    )
    assert len(serial.cannot_tell) == 2
    assert read_pylabrobot(file, "host:5025").transcript.steps[1:] == (Sent(b"\xff\x00"), Said(b"AB\n"))


def test_backslashes_that_pylabrobot_has_lost_are_told(tmp_path: Path) -> None:
    file = written(tmp_path / "c.json", capture(("serial", "p", "write", "a\\b"), ("serial", "p", "read", "\\")))
    with pytest.warns(ReadingLoss, match="what its backslashes were"):
        read = read_pylabrobot(file)
    assert "2 left in it" in read.cannot_tell[-1]
    hexadecimal = written(tmp_path / "h.json", capture(("socket", "p", "write", "5c")))
    assert not any("backslash" in one for one in read_pylabrobot(hexadecimal).cannot_tell)


@pytest.mark.parametrize(
    ("content", "device", "why"),
    [
        ("nonsense", None, "this is no JSON"),
        ({"version": "1"}, None, "a capture of PyLabRobot is"),
        ({"commands": [{"module": "serial"}]}, None, "command 1 has no module, device_id and action"),
        (capture(("serial", "a", "write", "x"), ("serial", "b", "write", "x")), None, "2 devices, name one: a, b"),
        (capture(("serial", "a", "write", "x")), "b", "no device 'b'; there are a"),
        (capture(("serial", "a", "write", "\u1234")), None, "never was a byte"),
        (capture(("socket", "a", "write", "xyz")), None, "is no hex"),
    ],
)
def test_what_is_no_capture_is_told(tmp_path: Path, content: Any, device: str | None, why: str) -> None:
    with pytest.raises(ValueError) as error:
        read_pylabrobot(written(tmp_path / "c.json", content), device)
    assert why in str(error.value)


# -- PyMeasure ---------------------------------------------------------------------------------------------------------


def test_pairs_of_pymeasure_are_read() -> None:
    pairs: list[tuple[str | bytes | None, str | bytes | None]] = [
        ("VOLT?", "1.2"),
        (b"OUTP\xff", None),
        (None, b"ALARM"),
    ]
    steps = (Sent(b"VOLT?\n"), Said(b"1.2\n"), Sent(b"OUTP\xff\n"), Said(b"ALARM\n"))
    assert from_pairs(pairs).steps == steps
    with pytest.raises(TypeError, match="a pair is"):
        from_pairs([("A", "b", "c")])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not int"):
        from_pairs([(1, "b")])  # type: ignore[list-item]


# -- pyvisa-sim --------------------------------------------------------------------------------------------------------

DEVICES = r"""
spec: "1.1"
devices:
  generator:
    eom:
      ASRL INSTR: {q: "\r\n", r: "\n"}
      TCPIP SOCKET: {q: "\n", r: "\r\n"}
    error: ERROR
    dialogues:
      - {q: "?IDN", r: "LSG Serial #1234"}
      - {q: "!CAL"}
      - {q: "!NUL", r: null_response}
      - {q: "BYTES(aa 55)", r: "BYTES(0f)!"}
      - {q: ":READ?", r: "{RANDOM(1, 2, 3):.2f}"}
    properties:
      frequency:
        default: 100.0
        getter: {q: "?FREQ", r: "{:.2f}"}
        setter: {q: "!FREQ {:.2f}", r: OK, e: FREQ_ERROR}
        specs: {min: 1, max: 100000, type: float}
      waveform:
        default: 0
        getter: {q: "?WVF", r: "{:d}"}
        setter: {q: "!WVF {:d}", r: ""}
        specs: {valid: [0, 1, 2], type: int}
      unchecked:
        default: 7
        getter: {q: "?ANY", r: "<{:d}>"}
        setter: {q: "!ANY {}"}
  supply:
    eom:
      ASRL INSTR: {q: "\r\n", r: "\n"}
    dialogues:
      - {q: "*IDN?", r: "SCPI,MOCK,VERSION_1.0"}
    error:
      response: {command_error: "?", query_error: "!"}
      status_register:
        - {q: "*ESR?", command_error: 32, query_error: 4}
      error_queue:
        - {q: "SYST:ERR?", default: "0, No Error", command_error: "1, Command error"}
    channels:
      channel:
        ids: [1, 2]
        can_select: True
        dialogues:
          - {q: "CH{ch_id}:NAME?", r: "a channel"}
        properties:
          voltage:
            default: 1.0
            getter: {q: "CH{ch_id}:VOLT?", r: "{:+.2E}"}
            setter: {q: "CH{ch_id}:VOLT {:.3f}"}
            specs: {min: 1, max: 6, type: float}
  multiplexer:
    properties:
      selected_channel:
        default: 1
        getter: {q: "I?", r: "{}"}
        setter: {q: "I {}"}
    channels:
      type1:
        ids: [1, 2]
        can_select: False
        properties:
          frequency:
            default: 1.0
            getter: {q: "F?", r: "{:.3f}"}
            setter: {q: "F {:.3f}"}
            specs: {type: float, min: 1.0, max: 10.0}
  better generator:
    bases:
      - {device: generator}
    dialogues:
      - {q: "?IDN", r: "LSG II"}
resources:
  ASRL1::INSTR: {device: generator}
  TCPIP::localhost::10001::SOCKET: {device: generator}
  ASRL2::INSTR: {device: supply, channel_ids: {channel: [7]}}
"""


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    pytest.importorskip("yaml")
    return written(tmp_path / "devices.yaml", DEVICES)


@pytest.mark.parametrize(
    ("device", "conversation"),
    [
        ("generator", [
            ("?IDN", ["LSG Serial #1234"]), ("!CAL", []), ("!NUL", []), ("WHAT", ["ERROR"]),
            ("?FREQ", ["100.00"]), ("!FREQ 20.5", ["OK"]), ("?FREQ", ["20.50"]), ("!FREQ 1e3", ["OK"]),
            ("?FREQ", ["1000.00"]), ("!FREQ 0.5", ["FREQ_ERROR"]), ("!FREQ x", ["ERROR"]), ("?FREQ", ["1000.00"]),
            ("!WVF 2", [""]), ("?WVF", ["2"]), ("!WVF 3", ["ERROR"]), ("!WVF 1.5", ["ERROR"]), ("?WVF", ["2"]),
            ("?ANY", ["<7>"]), ("!ANY 12", []), ("?ANY;?WVF;!CAL", ["<12>", "2"]),
        ]),
        ("supply", [
            ("*ESR?", ["0"]), ("WHAT", ["?"]), ("*ESR?", ["32"]), ("*ESR?", ["0"]),
            ("SYST:ERR?", ["1, Command error"]), ("SYST:ERR?", ["0, No Error"]),
            ("CH1:VOLT?", ["+1.00E+00"]), ("CH1:VOLT 2.5", []), ("CH1:VOLT?", ["+2.50E+00"]),
            ("CH2:VOLT?", ["+1.00E+00"]), ("CH3:VOLT?", ["?"]), ("CH3:VOLT 2", ["?"]), ("CH1:VOLT 7", ["?"]),
            ("CH2:NAME?", ["a channel"]),
        ]),
        ("ASRL2::INSTR", [("CH7:VOLT?", ["+1.00E+00"]), ("CH1:VOLT?", ["?"])]),
        ("multiplexer", [
            ("F?", ["1.000"]), ("F 2.5", []), ("F?", ["2.500"]), ("I 2", []), ("F?", ["1.000"]), ("I 9", []),
            ("F?", []), ("I 1", []), ("F?", ["2.500"]), ("F 11", []), ("F?", ["2.500"]),
        ]),
        ("better generator", [("?IDN", ["LSG II"]), ("?FREQ", ["100.00"]), ("WHAT", ["ERROR"])]),
    ],
)  # fmt: skip
def test_a_device_of_pyvisa_sim_behaves_as_its_file_says(
    devices: Path, device: str, conversation: list[tuple[str, list[str]]]
) -> None:
    simulated = read_pyvisa_sim(devices, device)
    for command, replies in conversation:
        assert simulated.answer(command.encode()) == [reply.encode() for reply in replies], command


def test_bytes_and_random_numbers(devices: Path) -> None:
    simulated = read_pyvisa_sim(devices, "generator")
    assert simulated.answer(b"\xaa\x55") == [b"\x0f!"]
    numbers = [float(one) for one in simulated.answer(b":READ?")[0].split(b", ")]
    assert len(numbers) == 3
    assert all(1 <= one <= 2 for one in numbers)
    again = read_pyvisa_sim(devices, "generator")
    again.answer(b"\xaa\x55")
    assert [float(one) for one in again.answer(b":READ?")[0].split(b", ")] == numbers, "the same on every run"


def test_the_ends_of_messages_are_those_of_the_interface(devices: Path) -> None:
    assert read_pyvisa_sim(devices, "generator").ends == (b"\r\n", b"\n")
    assert read_pyvisa_sim(devices, "generator", transport="tcp").ends == (b"\n", b"\r\n")
    assert read_pyvisa_sim(devices, "ASRL1::INSTR", transport="tcp").ends == (b"\r\n", b"\n")
    assert read_pyvisa_sim(devices, "TCPIP::localhost::10001::SOCKET").ends == (b"\n", b"\r\n")
    assert read_pyvisa_sim(devices, "multiplexer").ends == (b"\n", b"\n")
    assert read_pyvisa_sim(devices, "generator", framing="\r").ends == (b"\r", b"\r")


def test_a_resource_may_lead_to_another_file(devices: Path) -> None:
    content = 'spec: "1.0"\nresources:\n  GPIB::8::INSTR: {device: generator, filename: devices.yaml}\n'
    other = written(devices.parent / "bench.yaml", content)
    assert read_pyvisa_sim(other).answer(b"?IDN") == [b"LSG Serial #1234"]
    assert read_pyvisa_sim(other, "GPIB::8::INSTR").name == "generator"


def test_what_nobody_sees_on_a_line_is_told(devices: Path) -> None:
    assert read_pyvisa_sim(devices, "generator").cannot_tell == ()
    assert "query_error" in read_pyvisa_sim(devices, "supply").cannot_tell[0]


@pytest.mark.parametrize(
    ("content", "device", "why"),
    [
        (DEVICES, None, "has 4 devices, name one: generator, supply, multiplexer, better generator, ASRL1::INSTR"),
        (DEVICES, "toaster", "no device 'toaster'; there are generator"),
        ("a: [", None, "this is no YAML"),
        ("devices: {}", None, 'says which it is: spec: "1.1"'),
        ('spec: "2.0"', None, "spec is 1.0 or 1.1, not 2.0"),
        ('spec: "1.0"\ndevices: {a: 1}', None, "devices is a table of tables"),
        ('spec: "1.0"\ndevices: {a: {dialogues: [{r: x}]}}', None, "device 'a': 'q' is missing"),
        ('spec: "1.0"\ndevices: {a: {properties: {p: {specs: {min: 1}}}}}', None, "the type of 'p' is float, int or"),
        ('spec: "1.0"\ndevices: {a: {properties: {p: {default: 9, specs: {type: int, max: 3}}}}}', None, "at most 3"),
        ('spec: "1.0"\ndevices: {a: {bases: [{device: b}]}}', "a", "no device 'b'"),
    ],
)
def test_what_is_no_file_of_pyvisa_sim_is_told(tmp_path: Path, content: str, device: str | None, why: str) -> None:
    pytest.importorskip("yaml")
    with pytest.raises(ValueError) as error:
        read_pyvisa_sim(written(tmp_path / "d.yaml", content), device)
    assert why in str(error.value)


def test_without_pyyaml_it_says_what_to_install(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(ImportError, match=r"pip install labtether\[sim\]"):
        read_pyvisa_sim(devices, "generator")
