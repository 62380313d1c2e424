"""The 21 features of pylabrobot.md 2.1, each with the tests that show it in a real device's dialogue: the index.

A test is named `test_row_<row>_<device>_<claim>` and lives in one of test_devices_*.py. Nobody loses a row unnoticed.
"""

import re
from pathlib import Path

ROWS: dict[int, tuple[str, str]] = {
    1: ("an exclusive exchange with one deadline for the whole of it", "mettler xpeel"),
    2: ("a read can be cancelled: promptly, no byte lost, no late reply given to the next", "mettler keyence"),
    3: ("open, init, close in any order, from any loop; a failed setup leaks nothing", "heraeus mettler preciseflex"),
    4: ("messages that end in a delimiter", "biotek spectramax cytomat mettler"),
    5: ("asking until a predicate holds", "cytomat heraeus"),
    6: ("what was there before the question is not its answer; back in step", "biotek mettler lidvalet"),
    7: ("answers in parts: acknowledgement, progress, completion or error", "xpeel microspin genogrinder el406"),
    8: ("checksums, one's own too", "agrow inheco ht2000 biotek el406"),
    9: ("lines and frames nobody asked for", "a4s keyence"),
    10: ("replies matched by id, several commands in flight", "star"),
    11: ("line control: break, DTR and RTS, RTS/CTS, the speed", "biotek heraeus inheco"),
    12: ("frames with a length in front", "benchcel el406"),
    13: ("an abort on cancel, its answer awaited, the link in use afterwards",
         "preciseflex microspin biotek genogrinder el406 masterflex"),
    14: ("seven bits and parity", "keyence masterflex heraeus"),
    15: ("the echo of a command", "ultraseal"),
    16: ("many devices on one line", "bigbear"),
    17: ("once more if it is busy", "mettler cytomat lidvalet"),
    18: ("kept awake while idle", "agrow benchcel"),
    19: ("replies of a fixed length", "ht2000 masterflex"),
    20: ("connected again", "benchcel lidvalet"),
    21: ("written down, and played back", "inheco"),
}  # fmt: skip
"""Row: what it is, and the devices whose dialogues show it."""


def devices_by_row() -> dict[int, set[str]]:
    """The devices that each row is tested with, as the names of the tests say."""
    found: dict[int, set[str]] = {}
    for file in sorted(Path(__file__).parent.glob("test_devices_*.py")):
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE):
            named = re.match(r"test_row_(\d+)_([a-z0-9]+)_\w", name)
            assert named is not None, f"{file.name}: {name} does not say its row and its device"
            found.setdefault(int(named[1]), set()).add(named[2])
    return found


def test_every_feature_is_shown_with_every_device_that_is_named_for_it() -> None:
    assert sorted(ROWS) == list(range(1, 22))
    assert devices_by_row() == {row: set(devices.split()) for row, (_, devices) in ROWS.items()}
