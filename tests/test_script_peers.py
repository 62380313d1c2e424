"""The same test with another library on the other end each time: pyserial, PyVISA-py, labtether."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import serial

import labtether as lt
from labtether.testing import ScriptedInstrument
from labtether.testing._labsim import Labsim

Ask = Callable[[str], str]


@contextmanager
def with_labtether(psu: ScriptedInstrument) -> Iterator[Ask]:
    with lt.link(psu.url, framing="\n").sync as link:
        yield lambda command: str(link.query(command))


@contextmanager
def with_pyserial(psu: ScriptedInstrument) -> Iterator[Ask]:
    def ask(command: str) -> str:
        port.write(command.encode() + b"\n")
        reply: str = port.readline().decode()
        return reply.removesuffix("\n")

    with serial.serial_for_url(psu.port, timeout=5) as port:
        yield ask


@contextmanager
def with_pyvisa(psu: ScriptedInstrument) -> Iterator[Ask]:
    pyvisa = pytest.importorskip("pyvisa")
    pytest.importorskip("pyvisa_py")
    manager = pyvisa.ResourceManager("@py")
    try:
        resource = manager.open_resource(psu.resource, read_termination="\n", write_termination="\n", timeout=5000)
        yield resource.query
        resource.close()
    finally:
        manager.close()


PEERS = [
    pytest.param(with_labtether, "pty", id="labtether-pty"),
    pytest.param(with_labtether, "tcp", id="labtether-tcp"),
    pytest.param(with_labtether, "rfc2217", id="labtether-rfc2217"),
    pytest.param(with_pyserial, "pty", id="pyserial-pty"),
    pytest.param(with_pyserial, "tcp", id="pyserial-tcp"),
    pytest.param(with_pyserial, "rfc2217", id="pyserial-rfc2217"),
    pytest.param(with_pyvisa, "pty", id="pyvisa-pty"),
    pytest.param(with_pyvisa, "tcp", id="pyvisa-tcp"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the peers' own
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("talking", "transport"), PEERS)
def test_a_power_supply(labsim: Labsim, talking: Callable[..., Iterator[Ask]], transport: str) -> None:
    psu = labsim.script("psu", transport=transport)
    psu.expect("*IDN?").reply("ACME,PSU,1.0")
    psu.when(r"VOLT (?P<volt>[\d.]+)").set("volt").reply("OK")
    psu.when("VOLT?").reply("{volt}")
    with psu.any_order():
        psu.expect("CURR?").reply("0.5", after=0.01, fragments=[1, 1])
        psu.expect("TEMP?").reply(lambda match: "2" * len(match[0]))
    with talking(psu) as ask:  # type: ignore[attr-defined]
        assert ask("*IDN?") == "ACME,PSU,1.0"
        assert ask("VOLT 3.3") == "OK"
        assert [ask("TEMP?"), ask("CURR?")] == ["22222", "0.5"]
        assert ask("VOLT?") == "3.3"
    assert psu.heard == ["*IDN?", "VOLT 3.3", "TEMP?", "CURR?", "VOLT?"]
