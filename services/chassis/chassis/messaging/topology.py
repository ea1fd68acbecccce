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
    """One row of shopapi/topology.toml. `name` is both the CloudEvents type and the routing key."""

    name: str
    producer: str
    payload: type[Message]
    consumers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    exchange: str
    dead_letter_exchange: str
    delivery_limit: int
    events: Mapping[str, EventType]

    def consumed_by(self, service: str) -> list[str]:
        return [event.name for event in self.events.values() if service in event.consumers]

    def produced_by(self, service: str) -> list[str]:
        return [event.name for event in self.events.values() if event.producer == service]

    def type_of(self, payload: Message) -> EventType:
        """Raises LookupError for a message that is no event."""
        for event in self.events.values():
            if isinstance(payload, event.payload):
                return event
        raise LookupError(f"{type(payload).__name__} is not in shopapi/topology.toml")


@cache
def load_topology() -> Topology:
    content = tomllib.loads((importlib.resources.files("shopapi") / "topology.toml").read_text())
    events = {
        name: EventType(name, row["producer"], getattr(events_pb2, row["payload"]), tuple(row["consumers"]))
        for name, row in content["events"].items()
    }
    return Topology(content["exchange"], content["dead_letter_exchange"], content["delivery_limit"], events)
