"""Events keep every value when they are encoded and decoded, and the topology is consistent."""

import json
import re
from datetime import UTC, datetime

import pytest
from chassis.errors import MalformedEvent, UnknownEvent
from chassis.messaging import events
from chassis.messaging.events import Event
from chassis.messaging.topology import load_topology
from chassis.types.ids import uuid7
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from shopapi.events.v1 import events_pb2
from shopapi.money.v1.money_pb2 import Money

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ORDER = events_pb2.OrderPlaced(
    order_id="018f",
    buyer_id=2**62,
    lines=[events_pb2.OrderLine(product_id=1, quantity=0)],
    total=Money(amount=0, currency="USD"),
)


def test_decoding_restores_what_was_encoded() -> None:
    trace = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "tracestate": "k=v", "x-request-id": "r-1"}
    event = Event(uuid7(), "018f", NOON, ORDER, trace)

    assert events.decode(events.encode(event)) == event
    assert events.subject_and_trace_of(events.encode(event)) == ("018f", trace)


def test_attribute_names_are_valid_in_cloud_events() -> None:
    event = Event(uuid7(), "018f", NOON, ORDER, {"x-request-id": "r-1"})

    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in json.loads(events.encode(event)))


def test_zero_values_are_encoded() -> None:
    document = json.loads(events.encode(Event(uuid7(), "018f", NOON, ORDER, {})))

    assert document["data"]["lines"] == [{"product_id": "1", "quantity": "0", "name": "", "seller_id": "0"}]
    assert document["data"]["total"] == {"amount": "0", "currency": "USD"}


def test_an_encoded_event_is_a_cloud_event() -> None:
    document = json.loads(events.encode(Event(uuid7(), "018f", NOON, ORDER, {})))

    assert {key: document[key] for key in ("specversion", "source", "type", "subject", "time", "datacontenttype")} == {
        "specversion": "1.0",
        "source": "/order",
        "type": "order.placed.v1",
        "subject": "018f",
        "time": "2026-01-01T12:00:00+00:00",
        "datacontenttype": "application/json",
    }


def test_unknown_fields_of_a_newer_producer_are_ignored() -> None:
    document = json.loads(events.encode(Event(uuid7(), "018f", NOON, ORDER, {})))
    document["data"]["invented_later"] = 1

    assert events.decode(json.dumps(document).encode()).payload == ORDER


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"\xff"])
def test_a_malformed_event_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedEvent):
        events.decode(body)


def test_an_event_type_of_a_newer_release_is_unknown_not_malformed() -> None:
    with pytest.raises(UnknownEvent):
        events.decode(b'{"type": "invented.later.v1"}')


def test_every_event_type_has_consumers_and_a_payload_that_begins_with_an_id() -> None:
    for event in load_topology().events.values():
        assert issubclass(event.payload, Message)
        first = event.payload.DESCRIPTOR.fields[0]
        assert first.name.endswith("_id"), event.name
        assert first.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_INT64)
        assert event.consumers, f"{event.name} has no consumer"
