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
