"""Events as they travel: CloudEvents 1.0 in structured JSON mode, and the topology that producers and consumers share."""

import importlib.resources
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import UUID

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from shopapi.events.v1 import events_pb2

from chassis import tracing


class MalformedEvent(Exception):  # noqa: N818 - named for what happened
    """A message that no consumer can ever read: it goes to the dead letters at once."""


class UnknownEvent(Exception):  # noqa: N818 - named for what happened
    """An event that this release does not know: a newer one has begun to ask for it, while both run or before a return to this one."""


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

    def type_of(self, payload: Message) -> EventType:
        """Raises LookupError for a message that is no event."""
        for event in self.events.values():
            if isinstance(payload, event.payload):
                return event
        raise LookupError(f"{type(payload).__name__} is not in shopapi/topology.toml")


@cache
def topology() -> Topology:
    content = tomllib.loads((importlib.resources.files("shopapi") / "topology.toml").read_text())
    events = {
        name: EventType(name, row["producer"], getattr(events_pb2, row["payload"]), tuple(row["consumers"]))
        for name, row in content["events"].items()
    }
    return Topology(content["exchange"], content["dead_letter_exchange"], content["delivery_limit"], events)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: who it is about (`subject`), what happened (`payload`), and the trace and request it belongs to, as `inject` gave them."""

    id: UUID
    subject: str
    time: datetime
    payload: Message
    trace: Mapping[str, str]

    @property
    def type(self) -> EventType:
        return topology().type_of(self.payload)


_ATTRIBUTES = {"traceparent": "traceparent", "tracestate": "tracestate", tracing.REQUEST_ID: "requestid"}
"""What a trace is carried as: the names of CloudEvents' attributes are letters and digits alone."""


def encode(event: Event) -> bytes:
    """The JSON of a CloudEvent. Zero values are written out: a quantity of 0 must not vanish."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(event.id),
            "source": f"/{event.type.producer}",
            "type": event.type.name,
            "subject": event.subject,
            "time": event.time.isoformat(),
            "datacontenttype": "application/json",
            **{_ATTRIBUTES[name]: value for name, value in event.trace.items() if name in _ATTRIBUTES},
            "data": MessageToDict(
                event.payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            ),
        }
    ).encode()


def decode(body: bytes) -> Event:
    """Raises MalformedEvent, UnknownEvent. Fields that a newer producer added are ignored."""
    try:
        document = json.loads(body)
        kind = topology().events.get(document["type"])
        if kind is None:
            raise UnknownEvent(f"{document['type']} is not in shopapi/topology.toml")
        payload = ParseDict(document["data"], kind.payload(), ignore_unknown_fields=True)
        return Event(
            UUID(document["id"]),
            document["subject"],
            datetime.fromisoformat(document["time"]),
            payload,
            _trace_in(document),
        )
    except (ValueError, KeyError, TypeError, ParseError) as error:
        raise MalformedEvent(f"not a CloudEvent of ours: {error!r}") from error


def trace_of(body: bytes) -> dict[str, str]:
    """The trace and request of an event that `encode` wrote."""
    return _trace_in(json.loads(body))


def _trace_in(document: Mapping[str, str]) -> dict[str, str]:
    return {name: document[attribute] for name, attribute in _ATTRIBUTES.items() if attribute in document}
