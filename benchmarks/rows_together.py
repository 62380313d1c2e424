"""The rows of what works together: children, locks, channels, executors, against asyncio, anyio, trio, and threads.

The figures: within a loop at most twice the best peer, so at most 2 of each; across loops and threads below 1 of each.
"""

from __future__ import annotations

from row import ANYIO, TRIO, UVLOOP, Row, Subject

ON_ASYNCIO, ON_UVLOOP, ON_TRIO = "labtether, asyncio", "labtether, uvloop", "labtether, trio"
OURS = "labtether"


def each_of(one: str, peers: tuple[Subject, ...], reach: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((one, peer.name, reach) for peer in peers)


def rows_together() -> list[Row]:
    """All of them, in the order in which they are run."""
    return [*children(), *locks(), *locks_across(), *channels(), *channels_across(), *executors()]


def children() -> list[Row]:
    group = Subject("asyncio.TaskGroup", "children-TaskGroup-asyncio")
    fast_group = Subject("asyncio.TaskGroup, uvloop", "children-TaskGroup-uvloop", needs=UVLOOP)
    anyio_group = Subject("anyio task group", "children-anyio-asyncio", needs=ANYIO)
    trio_nursery = Subject("trio nursery", "children-trio", needs=TRIO)
    anyio_on_trio = Subject("anyio task group, trio", "children-anyio-trio", needs=(*TRIO, *ANYIO))
    note = "One scope for all of a round; the time is that of the round, over their number."
    handles = "labtether's children each have a handle with an outcome, and a place in the tree."
    return [
        Row(
            key="children",
            title="children that do nothing, started and joined, per child, asyncio",
            each=10_000,
            unit="child",
            rounds=0.5,
            subjects=(
                group,
                fast_group,
                anyio_group,
                Subject(ON_ASYNCIO, "children-labtether-asyncio"),
                Subject(ON_UVLOOP, "children-labtether-uvloop", needs=UVLOOP),
            ),
            against=(*each_of(ON_ASYNCIO, (group, anyio_group), "2"), *each_of(ON_UVLOOP, (fast_group,), "2")),
            notes=(note, handles),
        ),
        Row(
            key="children_trio",
            title="children that do nothing, started and joined, per child, trio",
            each=10_000,
            unit="child",
            rounds=0.5,
            subjects=(trio_nursery, anyio_on_trio, Subject(ON_TRIO, "children-labtether-trio", needs=TRIO)),
            against=each_of(ON_TRIO, (trio_nursery, anyio_on_trio), "2"),
            notes=(note, handles),
        ),
    ]


def locks() -> list[Row]:
    asyncio_lock = Subject("asyncio.Lock", "lock-asyncio")
    anyio_lock = Subject("anyio.Lock", "lock-anyio", needs=ANYIO)
    trio_lock = Subject("trio.Lock", "lock-trio", needs=TRIO)
    note = "Two tasks, each of which wants it again at once; every one of these locks is fair, so they take turns."
    return [
        Row(
            key="lock",
            title="a lock handed over within a loop, asyncio",
            each=10_000,
            unit="hand-over",
            subjects=(
                asyncio_lock,
                anyio_lock,
                Subject(ON_ASYNCIO, "lock-labtether-asyncio"),
                Subject(ON_UVLOOP, "lock-labtether-uvloop", needs=UVLOOP),
            ),
            against=each_of(ON_ASYNCIO, (asyncio_lock, anyio_lock), "2"),
            notes=(note,),
        ),
        Row(
            key="lock_trio",
            title="a lock handed over within a loop, trio",
            each=10_000,
            unit="hand-over",
            subjects=(trio_lock, Subject(ON_TRIO, "lock-labtether-trio", needs=TRIO)),
            against=each_of(ON_TRIO, (trio_lock,), "2"),
            notes=(note,),
        ),
    ]


def locks_across() -> list[Row]:
    tables = (
        (
            "lock_loops",
            "a lock handed over between two asyncio loops in two threads",
            (),
            (
                "asyncio.Lock: it lives in one of the loops; the other awaits",
                "run_coroutine_threadsafe(lock.acquire()), and gives it back by call_soon_threadsafe(lock.release).",
                "Each holds it for one pass of its loop, sleep(0).",
            ),
        ),
        (
            "lock_thread",
            "a lock handed over between an asyncio loop and a thread",
            (Subject("anyio.Lock, portal", "lock_thread-portal", needs=ANYIO),),
            (
                "The thread takes a threading.Lock directly, an asyncio.Lock by the result() of",
                "run_coroutine_threadsafe(lock.acquire()), given back by call_soon_threadsafe(lock.release).",
                "anyio.Lock: from the thread by portal.wrap_async_context_manager(lock), since its holder is a task.",
                "labtether: the thread takes lock.sync. Each holds it for one sleep(0) of its own.",
            ),
        ),
    )
    return [
        Row(
            key=key,
            title=title,
            each=500,
            unit="hand-over",
            rounds=0.5,
            subjects=(*peers, Subject(OURS, f"{key}-labtether")),
            against=each_of(OURS, peers, "below 1"),
            notes=(
                "threading.Lock: a loop acquires it in a worker thread, as named, releases it in place. It is unfair:",
                "a side may have it several times in a row, which is no hand-over, and costs time.",
                "'tried first': acquire(blocking=False), a worker thread only if that fails; the other side starves.",
                *notes,
            ),
        )
        for key, title, more, notes in tables
        for peers in (
            (
                Subject("threading.Lock, asyncio.to_thread", f"{key}-to_thread"),
                Subject("threading.Lock, run_in_executor", f"{key}-run_in_executor"),
                Subject("threading.Lock, anyio.to_thread", f"{key}-anyio_to_thread", needs=ANYIO),
                Subject("threading.Lock, tried first, run_in_executor", f"{key}-tried"),
                Subject("asyncio.Lock, run_coroutine_threadsafe", f"{key}-remote"),
                *more,
            ),
        )
    ]


def channels() -> list[Row]:
    items = Subject("asyncio.Queue", "channel-Queue")
    stream = Subject("anyio memory object stream", "channel-anyio", needs=ANYIO)
    memory_channel = Subject("trio memory channel", "channel-trio", needs=TRIO)
    note = "Capacity 100; one task sends, one receives. anyio and trio let others run with every item."
    return [
        Row(
            key="channel",
            title="items through a channel within a loop, asyncio",
            each=50_000,
            unit="item",
            rounds=0.5,
            cpu_per=1_000_000,
            subjects=(
                items,
                stream,
                Subject(ON_ASYNCIO, "channel-labtether-asyncio"),
                Subject(ON_UVLOOP, "channel-labtether-uvloop", needs=UVLOOP),
            ),
            against=each_of(ON_ASYNCIO, (items, stream), "2"),
            notes=(note,),
        ),
        Row(
            key="channel_trio",
            title="items through a channel within a loop, trio",
            each=50_000,
            unit="item",
            rounds=0.5,
            cpu_per=1_000_000,
            subjects=(memory_channel, Subject(ON_TRIO, "channel-labtether-trio", needs=TRIO)),
            against=each_of(ON_TRIO, (memory_channel,), "2"),
            notes=(note,),
        ),
    ]


def channels_across() -> list[Row]:
    return [
        Row(
            key=key,
            title=title,
            each=3000,
            unit="item",
            rounds=0.5,
            cpu_per=1_000_000,
            subjects=(*peers, Subject(OURS, f"{key}-labtether")),
            against=each_of(OURS, peers, "below 1"),
            notes=(
                "Capacity 100, except with call_soon_threadsafe(put_nowait), where nothing ever makes the sender wait.",
                f"queue.Queue: {dispatched}; 'tried first': {tried}.",
                f"run_coroutine_threadsafe(put): {awaited} for every item. anyio: the same, through a BlockingPortal.",
            ),
        )
        for key, title, dispatched, tried, awaited in (
            (
                "channel_loops",
                "items through a channel from an asyncio loop to another, in two threads",
                "put and get in worker threads of their loops",
                "only where put_nowait and get_nowait fail",
                "awaited by the sender",
            ),
            (
                "channel_thread",
                "items through a channel from a thread to an asyncio loop",
                "put in the thread, get in a worker thread of the loop",
                "only where get_nowait fails",
                "the thread waits for its result",
            ),
        )
        for peers in (
            (
                Subject("queue.Queue, asyncio.to_thread", f"{key}-to_thread"),
                Subject("queue.Queue, tried first, asyncio.to_thread", f"{key}-tried"),
                Subject("asyncio.Queue, run_coroutine_threadsafe(put)", f"{key}-remote"),
                Subject("asyncio.Queue, call_soon_threadsafe(put_nowait)", f"{key}-posted"),
                Subject("anyio memory object stream, portal", f"{key}-portal", needs=ANYIO),
            ),
        )
    ]


def executors() -> list[Row]:
    return [
        Row(
            key=key,
            title=title,
            each=each,
            unit="call",
            rounds=0.5,
            subjects=(peer, Subject(OURS, f"{key}-labtether")),
            against=each_of(OURS, (peer,), "below 1"),
            notes=("Two workers; the work is a function that returns at once.",),
        )
        for key, title, each in (
            ("submit", "submit(...).result(), one after the other", 2000),
            ("submit_burst", "1000 submitted, then 1000 results, per call", 10_000),
            ("map_burst", "map over 1000, per call", 10_000),
        )
        for peer in (Subject("ThreadPoolExecutor", f"{key}-thread_pool"),)
    ]
