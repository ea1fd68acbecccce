"""Messages wait together and are acknowledged together, none of them twice."""

from dataclasses import dataclass, field
from typing import cast

from aio_pika.abc import AbstractIncomingMessage
from chassis.messaging.deliveries import BATCH, Deliveries


@dataclass
class Message:
    """A message that records its acknowledgements, and whether each includes all earlier messages."""

    delivery_tag: int
    acknowledgements: list[bool] = field(default_factory=list)

    async def ack(self, multiple: bool = False) -> None:
        self.acknowledgements.append(multiple)


def as_messages(messages: list[Message]) -> list[AbstractIncomingMessage]:
    return [cast("AbstractIncomingMessage", message) for message in messages]


async def deliver(deliveries: Deliveries, count: int) -> list[Message]:
    messages = [Message(tag) for tag in range(1, count + 1)]
    for message in as_messages(messages):
        await deliveries.add(message)
    return messages


async def test_a_batch_is_what_waits_now_in_the_order_of_delivery() -> None:
    async with Deliveries() as deliveries:
        messages = await deliver(deliveries, BATCH + 1)

        assert await deliveries.next_batch() == as_messages(messages)[:BATCH]
        assert await deliveries.next_batch() == as_messages(messages)[BATCH:]


async def test_messages_are_acknowledged_with_one_frame() -> None:
    async with Deliveries() as deliveries:
        messages = await deliver(deliveries, 4)

        await deliveries.acknowledge(as_messages(messages[:3]))

        assert [message.acknowledgements for message in messages] == [[], [], [True], []]


async def test_an_earlier_message_without_an_answer_is_not_acknowledged_with_later_ones() -> None:
    async with Deliveries() as deliveries:
        messages = await deliver(deliveries, 4)

        await deliveries.acknowledge(as_messages(messages[1:3]))
        assert [message.acknowledgements for message in messages] == [[], [False], [False], []]

        await deliveries.acknowledge(as_messages(messages[:1]))
        await deliveries.acknowledge(as_messages(messages[3:]))
        assert [message.acknowledgements for message in messages] == [[False], [False], [False], [False]]
