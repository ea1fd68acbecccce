"""Events as they travel: CloudEvents 1.0 in structured JSON mode, and the topology that producers and consumers share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message

from chassis.errors import MalformedEvent, UnknownEvent
from chassis.messaging.topology import EventType, load_topology
from chassis.observability import tracing


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
        return load_topology().type_of(self.payload)


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
        kind = load_topology().events.get(document["type"])
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
