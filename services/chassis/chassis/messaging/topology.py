"""The broker topology that producers and consumers share, read from shopapi/topology.toml."""

import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from google.protobuf.message import Message
from shopapi.events.v1 import events_pb2


@dataclass(frozen=True, slots=True)
class EventType:
    """One event type of shopapi/topology.toml. `name` is both the CloudEvents type and the routing key."""

    name: str
    producer: str
    payload: type[Message]
    consumers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """The exchanges of the broker, and which service produces and consumes which event types."""

    exchange: str
    dead_letter_exchange: str
    retry_delays_seconds: tuple[float, ...]
    """How long a message waits after each failure of its handler. After one failure more it is a dead letter."""
    delivery_limit: int
    """How often the consumer of a message may die before it goes to the dead letters."""
    events: Mapping[str, EventType]

    def consumed_by(self, service: str) -> list[str]:
        """Returns the names of the event types that a service consumes."""
        return [event.name for event in self.events.values() if service in event.consumers]

    def produced_by(self, service: str) -> list[str]:
        """Returns the names of the event types that a service produces."""
        return [event.name for event in self.events.values() if event.producer == service]

    def consumers_of(self, producer: str) -> set[str]:
        """Returns the services that consume any event of a producer."""
        return {c for event in self.events.values() if event.producer == producer for c in event.consumers}

    def queue_arguments(self, service: str) -> dict[str, str | int]:
        """Returns the arguments of a service's queue.

        They must stay as they are: RabbitMQ refuses the declaration of a queue with other ones.
        """
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": self.delivery_limit,
            "x-dead-letter-exchange": self.dead_letter_exchange,
            "x-dead-letter-routing-key": service,
        }

    def type_of(self, payload: Message) -> EventType:
        """Returns the event type of a payload. Raises LookupError for a message that is not the payload of an event."""
        for event in self.events.values():
            if isinstance(payload, event.payload):
                return event
        raise LookupError(f"{type(payload).__name__} is not in shopapi/topology.toml")


@cache
def load_topology() -> Topology:
    """Returns the topology of shopapi/topology.toml."""
    content = tomllib.loads((importlib.resources.files("shopapi") / "topology.toml").read_text())
    events = {
        name: EventType(name, row["producer"], getattr(events_pb2, row["payload"]), tuple(row["consumers"]))
        for name, row in content["events"].items()
    }
    return Topology(
        content["exchange"],
        content["dead_letter_exchange"],
        tuple(content["retry_delays_seconds"]),
        content["delivery_limit"],
        events,
    )


def retry_exchange(service: str) -> str:
    """Returns the name of the exchange of a service's waiting queues, and of what returns from them to its queue."""
    return f"{service}.retry"


def retry_queue(service: str, delay_seconds: float) -> str:
    """Returns the name of the waiting queue from which messages return to a service's queue after that time."""
    return f"{retry_exchange(service)}.{round(delay_seconds * 1000)}"


def retry_arguments(service: str, delay_seconds: float) -> dict[str, str | int]:
    """Returns the arguments of a waiting queue.

    A message leaves it only when the service's queue has it (dead letters at least once).
    """
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": round(delay_seconds * 1000),
        "x-dead-letter-exchange": retry_exchange(service),
        "x-dead-letter-routing-key": service,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
