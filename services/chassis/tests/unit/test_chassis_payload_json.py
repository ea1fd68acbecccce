"""The converter of payloads gives what protobuf's own JSON conversion gives, for every type and every document."""

import random
from typing import Any

import pytest
from chassis.messaging import payload_json
from chassis.messaging.payload_json import from_json, to_json
from chassis.messaging.topology import EventType, load_topology
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BytesValue
from shopapi.events.v1.events_pb2 import OrderPlaced

EVENTS = load_topology().events.values()
_VALUES: dict[int, tuple[object, ...]] = {
    FieldDescriptor.CPPTYPE_STRING: ("", "a cup", "\u00c6r\u00f8 \U0001f600"),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
    FieldDescriptor.CPPTYPE_INT32: (0, -1, 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (0, -1, 2**63 - 1, -(2**63)),
}
_UNKNOWN = 77
"""A number that no enum has."""


def fill(message: Message, chance: random.Random) -> None:
    """Sets some fields of a message, and of those within it."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        message.seconds, message.nanos = chance.randrange(2**33), chance.choice((0, 5000, 120_000_000))  # type: ignore[attr-defined] # a message of any type
        return
    for field in message.DESCRIPTOR.fields:
        if field.message_type and field.is_repeated:
            for _ in range(chance.randrange(3)):
                fill(getattr(message, field.name).add(), chance)
        elif field.message_type:
            if chance.random() < 0.7:
                getattr(message, field.name).SetInParent()
                fill(getattr(message, field.name), chance)
        elif field.enum_type:
            setattr(message, field.name, chance.choice(sorted({*field.enum_type.values_by_number, _UNKNOWN})))
        else:
            setattr(message, field.name, chance.choice(_VALUES[field.cpp_type]))


def by_protobuf(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_payload_is_written_and_read_as_by_protobuf(event: EventType, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = []
    for seed in range(30):
        payload = event.payload()
        fill(payload, random.Random(seed))
        documents.append((payload, by_protobuf(payload)))
    monkeypatch.delattr(payload_json, "MessageToDict")  # nothing is left to it
    for payload, document in documents:
        assert to_json(payload) == document
        assert from_json(document, event.payload) == payload
    monkeypatch.delattr(payload_json, "ParseDict")  # but a number of an enum that this release does not know
    for payload, document in documents:
        if _UNKNOWN not in document.values():
            assert from_json(document, event.payload) == payload


@pytest.mark.parametrize(
    "document",
    [
        {"order_id": "1", "invented_later": 1},
        {"orderId": "1", "buyerId": "7"},
        {"buyer_id": 7, "lines": [{"product_id": 1.0, "quantity": "2"}]},
        {"buyer_id": "7", "lines": None, "total": None},
        {"placed_at": "2026-01-31T08:00:00+01:00", "total": {"amount": "-5"}},
        {"buyer_id": "9223372036854775808"},
        {"buyer_id": "seven"},
        {"buyer_id": "\u0667"},
        {"buyer_id": True},
        {"order_id": 1},
        {"lines": {"product_id": "1"}},
        {"lines": ["1"]},
        {"total": []},
        {"placed_at": "noon"},
        {"placed_at": 5},
        {"order_id": "\ud800"},
        [],
        None,
        "text",
    ],
    ids=str,
)
def test_any_other_document_is_read_or_refused_as_by_protobuf(document: Any) -> None:
    try:
        expected = ParseDict(document, OrderPlaced(), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, AttributeError) as error:
        with pytest.raises((ParseError, ValueError, TypeError, type(error))):
            from_json(document, OrderPlaced)
    else:
        assert from_json(document, OrderPlaced) == expected


@pytest.mark.parametrize("message", [Struct(), BytesValue(value=b"x")], ids=["map", "bytes"])
def test_a_type_that_payloads_do_not_have_is_left_to_protobuf(message: Message) -> None:
    assert to_json(message) == by_protobuf(message)
    assert from_json(by_protobuf(message), type(message)) == message
