"""Events as they are transmitted: CloudEvents 1.0 in structured JSON mode."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from google.protobuf.json_format import ParseError
from google.protobuf.message import Message

from chassis.errors import MalformedEvent, UnknownEvent
from chassis.messaging.payload_json import from_json, to_json
from chassis.messaging.topology import EventType, load_topology
from chassis.observability import tracing

_ATTRIBUTES = {"traceparent": "traceparent", "tracestate": "tracestate", tracing.REQUEST_ID: "requestid"}
"""The CloudEvents attribute for each key of a trace carrier. Names of attributes have letters and digits only."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: what it is about (`subject`), what happened (`payload`), and the carrier of its trace."""

    id: UUID
    subject: str
    time: datetime
    payload: Message
    trace: Mapping[str, str]

    @property
    def type(self) -> EventType:
        return load_topology().type_of(self.payload)


def encode(event: Event) -> bytes:
    """Returns the JSON of a CloudEvent. It includes zero values: a quantity of 0 must not be missing."""
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
            "data": to_json(event.payload),
        }
    ).encode()


def decode(body: bytes) -> Event:
    """Returns the event of a message, without fields that a newer producer added.

    Raises MalformedEvent, UnknownEvent.
    """
    try:
        document = json.loads(body)
        event_type = load_topology().events.get(document["type"])
        if event_type is None:
            raise UnknownEvent(f"{document['type']} is not in shopapi/topology.toml")
        return Event(
            UUID(document["id"]),
            document["subject"],
            datetime.fromisoformat(document["time"]),
            from_json(document["data"], event_type.payload),
            _trace_in(document),
        )
    except (ValueError, KeyError, TypeError, ParseError) as error:
        raise MalformedEvent(f"the message is not a CloudEvent of this platform: {error!r}") from error


def subject_and_trace_of(body: bytes) -> tuple[str, dict[str, str]]:
    """Returns the subject and the trace carrier of an event that `encode` wrote."""
    document = json.loads(body)
    return document["subject"], _trace_in(document)


def _trace_in(document: Mapping[str, str]) -> dict[str, str]:
    return {name: document[attribute] for name, attribute in _ATTRIBUTES.items() if attribute in document}
