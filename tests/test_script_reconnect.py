"""A link that comes back, with an instrument that still has something to say: nobody is given another one's answer."""

import pytest

import labtether as lt
from labtether.testing import script


@pytest.mark.parametrize("readies", [False, True])
@pytest.mark.parametrize("transport", ["pty", "tcp", "memory"])
async def test_the_reply_to_what_was_lost_reaches_nobody_where_the_link_asks_its_way_into_step(
    transport: str, readies: bool
) -> None:
    async def ready(link: lt.Link[str]) -> None:
        assert await link.query("READY?") == "yes"

    with script("psu", transport=transport) as psu:
        psu.when("2?").disconnect(after=0.02, back=0.02).reply("2", after=0.1)
        psu.when("PING").reply("PONG", after=0.1)
        psu.when("READY?").reply("yes", after=0.1)
        psu.when("3?").reply("3", after=0.1)
        again = lt.Reconnect(first=0.01, ready=ready if readies else None)
        async with psu.link(timeout=2.0, resync=lt.Resync("PING", "^PONG$"), reconnect=again) as link:
            with pytest.raises(lt.LinkLost):
                await link.query("2?")
            assert await link.query("3?") == "3"
        assert psu.heard.index("PING") < psu.heard.index("3?")


async def test_with_ids_it_needs_no_asking() -> None:
    with script("psu") as psu:
        psu.when("2?").disconnect(after=0.02, back=0.02).reply("#2 two", after=0.1)
        psu.when("3?").reply("#3 three", after=0.2)
        by_id = lt.ById(command=r"^(\d)", reply=r"^#(\d)")
        async with psu.link(timeout=2.0, match=by_id, reconnect=lt.Reconnect(first=0.01)) as link:
            with pytest.raises(lt.LinkLost):
                await link.query("2?")
            assert await link.query("3?") == "#3 three"
