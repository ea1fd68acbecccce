"""The JSON of an event's payload, by a converter that is built once for each type.

protobuf's own `json_format` looks at the descriptor of each field of each message. The converter does so once, and
takes a third of the time. It covers what payloads consist of; everything else, in a type or in a document, is left to
`json_format`, so the results are the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_M = TypeVar("_M", bound=Message)
Json: TypeAlias = dict[str, Any]


def to_json(payload: Message) -> Json:
    """Returns all fields by their names, zero values included; messages that are not set are left out."""
    converter = _converter_of(payload.DESCRIPTOR)
    if converter is None:
        return MessageToDict(payload, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return converter.write(payload)


def from_json(document: Any, message_class: type[_M]) -> _M:
    """Returns the message of a document, without unknown fields. Raises ValueError, TypeError or ParseError."""
    converter = _converter_of(message_class.DESCRIPTOR)
    if converter is not None:
        try:
            return message_class(**converter.read(document))
        except _Unusual:
            pass
    return ParseDict(document, message_class(), ignore_unknown_fields=True)


class _Unusual(Exception):
    """A document is not written as `to_json` does: it may still be valid, or have fields of a newer release."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message, with the functions that convert its value."""

    name: str
    has_presence: bool
    write: Callable[[Any], object]
    read: Callable[[Any], object]


class _Converter:
    """Converts messages of one type."""

    def __init__(self, fields: list[_Field]) -> None:
        self._fields = fields
        self._read = {field.name: field.read for field in fields}

    def write(self, message: Message) -> Json:
        return {
            field.name: field.write(getattr(message, field.name))
            for field in self._fields
            if not field.has_presence or message.HasField(field.name)
        }

    def read(self, document: Any) -> Json:
        """Returns the arguments of the message's constructor. Raises _Unusual, and ValueError for a bad time."""
        if type(document) is not dict:
            raise _Unusual
        try:
            return {name: self._read[name](value) for name, value in document.items()}
        except KeyError:
            raise _Unusual from None


@cache
def _converter_of(descriptor: Descriptor) -> _Converter | None:
    """Returns None for a type with fields that are left to `json_format`. A type must not contain itself."""
    fields = [_field(one) for one in descriptor.fields]
    known = [one for one in fields if one is not None]
    return _Converter(known) if len(known) == len(fields) else None


def _field(field: FieldDescriptor) -> _Field | None:
    if field.containing_oneof is not None:
        return None
    conversion = _conversion(field)
    if conversion is None:
        return None
    write, read = conversion
    if field.is_repeated:
        return _Field(field.name, False, _each(write), _each_of_list(read))
    return _Field(field.name, field.has_presence, write, read)


_Conversion: TypeAlias = tuple[Callable[[Any], object], Callable[[Any], object]]


def _conversion(field: FieldDescriptor) -> _Conversion | None:
    if field.message_type is not None:
        return _message(field.message_type)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    return _SCALARS.get(field.type)


def _message(descriptor: Descriptor) -> _Conversion | None:
    if descriptor.full_name == Timestamp.DESCRIPTOR.full_name:
        return Timestamp.ToJsonString, _read_time
    if descriptor.full_name.startswith("google.protobuf.") or descriptor.GetOptions().map_entry:
        return None
    converter = _converter_of(descriptor)
    return (converter.write, converter.read) if converter else None


def _enum(descriptor: EnumDescriptor) -> _Conversion | None:
    """An enum is written by the names of its values, and by the number of one that only a newer release knows."""
    if descriptor.full_name.startswith("google.protobuf."):
        return None
    names = {number: value.name for number, value in descriptor.values_by_number.items()}
    numbers = {name: value.number for name, value in descriptor.values_by_name.items()}

    def read(value: Any) -> int:
        if type(value) is not str or value not in numbers:
            raise _Unusual
        return numbers[value]

    return lambda number: names.get(number, number), read


def _each(write: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda values: [write(value) for value in values]


def _each_of_list(read: Callable[[Any], object]) -> Callable[[Any], object]:
    def read_list(values: Any) -> object:
        if type(values) is not list:
            raise _Unusual
        return [read(value) for value in values]

    return read_list


def _same(value: object) -> object:
    return value


def _instance_of(kind: type) -> Callable[[Any], object]:
    def read(value: Any) -> object:
        if type(value) is not kind:
            raise _Unusual
        return value

    return read


def _read_long(value: Any) -> int:
    """Reads an integer of 64 bits, which JSON has as a string."""
    if type(value) is not str or not (value.isascii() and value.removeprefix("-").isdigit()):
        raise _Unusual
    return int(value)


def _read_time(value: Any) -> Timestamp:
    if type(value) is not str:
        raise _Unusual
    time = Timestamp()
    time.FromJsonString(value)
    return time


_SCALARS: Mapping[int, _Conversion] = {
    FieldDescriptor.TYPE_BOOL: (_same, _instance_of(bool)),
    FieldDescriptor.TYPE_STRING: (_same, _instance_of(str)),
    FieldDescriptor.TYPE_INT32: (_same, _instance_of(int)),
    FieldDescriptor.TYPE_INT64: (str, _read_long),
}
"""How a scalar is written and read, by its type."""
