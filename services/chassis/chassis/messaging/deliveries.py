"""The messages that the broker has delivered on one channel: those that wait, and their acknowledgements."""

import asyncio
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Self

from aio_pika.abc import AbstractIncomingMessage

BATCH = 20
"""How many messages are handled in one transaction at most: it holds all their locks until it ends."""


class Deliveries:
    """Collects the messages of one channel, and runs the tasks that handle them. Its end cancels these tasks.

    The broker delivers what is not acknowledged once more, on another channel.
    """

    def __init__(self) -> None:
        self._waiting: list[AbstractIncomingMessage] = []
        self._has_waiting = asyncio.Event()
        self._open: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def add(self, message: AbstractIncomingMessage) -> None:
        """Takes a message from the broker."""
        self._waiting.append(message)
        self._open.add(_tag(message))
        self._has_waiting.set()

    async def next_batch(self) -> Sequence[AbstractIncomingMessage]:
        """Returns the messages that wait now, `BATCH` at most, in the order of their delivery. Waits only for one."""
        await self._has_waiting.wait()
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        if not self._waiting:
            self._has_waiting.clear()
        return batch

    def start(self, handling: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Runs a task until it ends or this object does."""
        task = asyncio.create_task(handling)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def acknowledge(self, messages: Sequence[AbstractIncomingMessage]) -> None:
        """Acknowledges messages, with one frame if every earlier message of the channel has its answer.

        A message counts as open until its answer was sent: RabbitMQ closes a channel that acknowledges one twice.
        """
        tags = {_tag(message) for message in messages}
        last = max(messages, key=_tag)
        if all(tag > _tag(last) for tag in self._open - tags):
            await last.ack(multiple=len(messages) > 1)
        else:
            for message in messages:
                await message.ack()
        self._open -= tags

    async def reject(self, message: AbstractIncomingMessage) -> None:
        """Makes a message a dead letter."""
        await message.reject(requeue=False)
        self._open.discard(_tag(message))


def _tag(message: AbstractIncomingMessage) -> int:
    return message.delivery_tag or 0
