"""One subject in a process of its own: `worker.py KEY [LINE ADDRESS]`.

Between the counts it is asked for it stands still, so rounds of different subjects can be interleaved without touching
each other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from cancels import cancel_bare, cancel_subject
from channels import CHANNELS
from children import CHILDREN
from executors import POOLS, map_burst, submit, submit_burst
from ids import IDS
from keepalives import KEEPALIVES
from links import LINKS
from locks import LOCKS
from messages import messages_blocking, messages_streams, messages_subject
from no_ops import NO_OPS, no_op, no_op_gather
from protocol import RUNNERS
from queries import link_blocking, link_subject, pyserial, stream_subject

SUBJECTS: dict[str, Callable[..., None]] = {
    "pyserial": pyserial,
    "pyserial-asyncio-fast": partial(stream_subject, "asyncio"),
    "pyserial-asyncio-fast-timeout": partial(stream_subject, "asyncio", limited=True),
    "streams-asyncio": partial(stream_subject, "asyncio"),
    "streams-asyncio-timeout": partial(stream_subject, "asyncio", limited=True),
    "streams-uvloop": partial(stream_subject, "uvloop"),
    "labtether-blocking": link_blocking,
    "cancel-bare": cancel_bare,
    "messages-blocking": messages_blocking,
    "messages-pyserial-asyncio-fast": messages_streams,
    "messages-streams": messages_streams,
    **{f"labtether-{runner}": partial(link_subject, runner) for runner in RUNNERS},
    **{f"messages-{runner}": partial(messages_subject, runner) for runner in RUNNERS},
    **{
        f"cancel_{what}-{runner}": partial(cancel_subject, runner, what)
        for what in ("query", "receive")
        for runner in RUNNERS
    },
    **{f"no_op-{which}": partial(no_op, which) for which in NO_OPS},
    **{f"no_op_gather-{which}": partial(no_op_gather, which) for which in NO_OPS},
    **LINKS,
    **IDS,
    **KEEPALIVES,
    **CHILDREN,
    **LOCKS,
    **CHANNELS,
    **{f"submit-{which}": partial(submit, which) for which in POOLS},
    **{f"submit_burst-{which}": partial(submit_burst, which) for which in POOLS},
    **{f"map_burst-{which}": partial(map_burst, which) for which in POOLS},
}

if __name__ == "__main__":
    SUBJECTS[sys.argv[1]](*sys.argv[2:])
