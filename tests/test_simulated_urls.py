"""`sim://NAME?option=value`: the simulated devices in this process."""

import pytest

import labtether as lt
from labtether.testing import device


@pytest.mark.parametrize(
    ("url", "command", "reply"),
    [
        ("sim://balance?load=2&stable_after=0", "S", "S S    2.00000 g"),
        ("sim://cytomat?pace=0.01", "ll:in", "ok 01"),
        ("sim://lid_valet", "status 1", "ACK! status 1"),
        ("sim://micro_spin", "hss", "ACK! hss 1"),
        ("sim://precise_flex?estop=true", "hp 1 20", "-1028 Hard E-Stop"),
        ("sim://xpeel?supply=29", "*stat", "*ready:00,20,00"),
    ],
)
async def test_each_is_in_a_url_and_has_its_own_framing(url: str, command: str, reply: str) -> None:
    async with lt.link(url) as link:
        assert link.url == url
        assert await link.query(command) == reply


async def test_what_is_asked_in_a_url_lasts_and_the_device_is_new_whenever_it_is_opened() -> None:
    link = lt.link("sim://xpeel?supply=30&pace=0")
    for _ in range(2):
        async with link:
            assert await link.query("*stat") == "*ready:00,00,00"
            assert await link.query_all("*xpeel:41", until=r"^\*ready") == ["*ack", "*ready:00,20,00"]


async def test_another_framing_is_used_if_it_is_given() -> None:
    async with lt.link("sim://cytomat", framing=lt.Lines("\r", send_terminator="\r\n", keep=True)) as link:
        assert await link.query("ch:be") == "be 00\r"
    async with lt.link("sim://cytomat", framing=None) as link:
        await link.write(b"ch:be\r\n")
        assert await link.read_until(b"\r") == b"be 00\r"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sim://toaster", "there is 'balance', 'cytomat', 'lid_valet', 'micro_spin', 'precise_flex', 'xpeel'"),
        ("sim://xpeel?speed=2", "no setting 'speed'; there are .*, fault, .*, pace, plate, "),
        ("sim://xpeel?pace=fast", "pace is a number from 0 to 100, not 'fast'"),
        ("sim://xpeel?plate=maybe", "plate is true or false, not 'maybe'"),
        ("sim://cytomat?plates=190", "plates is a whole number from 0 to 189, not '190'"),
        ("sim://cytomat?fault=09", "fault is one of 00, 01, .*, FF, not '09'"),
        ("sim://balance?pace", "name=value"),
    ],
)
def test_a_url_that_asks_for_what_there_is_not_is_refused_at_once(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lt.link(url)


async def test_a_device_that_is_in_memory_is_the_one_of_its_name() -> None:
    with device("xpeel", transport="memory", supply=0) as peeler:
        assert peeler.url == "sim://xpeel"
        async with lt.link("sim://xpeel") as link:
            assert await link.query("*stat") == "*ready:00,20,00"
        with pytest.raises(ValueError, match='it is not asked for "pace" any more'):
            lt.link("sim://xpeel?pace=0")
    async with lt.link("sim://xpeel") as link:
        assert await link.query("*stat") == "*ready:00,00,00"
