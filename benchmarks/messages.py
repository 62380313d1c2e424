"""Messages that nobody asked for, iterated."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from protocol import RUNNERS, answer, counts, link, now
from queries import streams

MESSAGE_LENGTH = 63


async def link_messages(line: str, address: str) -> None:
    async with link(line, address) as meter:
        for count in counts():
            left = count
            cpu = time.process_time_ns()
            async with meter.messages(capacity=count) as heard:
                begun = now()
                await meter.send(str(count))
                async for message in heard:
                    left -= 1
                    if not left:
                        last = message
                        break
                took = now() - begun
            answer(time.process_time_ns() - cpu, count, [took])
            if heard.dropped or len(last) != MESSAGE_LENGTH:
                raise SystemExit(f"{heard.dropped} messages were dropped; the last was {last!r}")


def messages_subject(runner: str, line: str, address: str) -> None:
    RUNNERS[runner](partial(link_messages, line, address))


def messages_blocking(line: str, address: str) -> None:
    with link(line, address).sync as meter:
        for count in counts():
            left = count
            cpu = time.process_time_ns()
            with meter.messages(capacity=count) as heard:
                begun = now()
                meter.send(str(count))
                for message in heard:
                    left -= 1
                    if not left:
                        last = message
                        break
                took = now() - begun
            answer(time.process_time_ns() - cpu, count, [took])
            if heard.dropped or len(last) != MESSAGE_LENGTH:
                raise SystemExit(f"{heard.dropped} messages were dropped; the last was {last!r}")


def messages_streams(line: str, address: str) -> None:
    async def main() -> None:
        async with streams(line, address) as (reader, writer):
            for count in counts():
                cpu = time.process_time_ns()
                begun = now()
                writer.write(f"{count}\n".encode())
                for _ in range(count):
                    message = await reader.readline()
                took = now() - begun
                answer(time.process_time_ns() - cpu, count, [took])
                if len(message) != MESSAGE_LENGTH + 1:
                    raise SystemExit(f"the last message was {message!r}")

    asyncio.run(main())
