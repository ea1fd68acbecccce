"""What all models of a spec share: their base class, references to Secrets, and validation rules of the CRD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, TypeVar
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from platform_operator.errors import InvalidSpecError


def rule(cel: str, message: str, field_path: str = "") -> dict[str, str]:
    """Returns a validation rule of the CRD: CEL over `self`, and a message that says what to write instead."""
    return {"rule": cel, "message": message} | ({"fieldPath": field_path} if field_path else {})


def rules(*rules: dict[str, str], **schema: JsonValue) -> dict[str, Any]:
    """Returns the schema extension that holds validation rules."""
    return {"x-kubernetes-validations": list(rules), **schema}


class Model(BaseModel):
    """The base of all parts of the spec: camel case names, immutable, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


_M = TypeVar("_M", bound=Model)


def parse_stored(model: type[_M], spec: Mapping[str, Any], advice: str = "correct it with kubectl edit") -> _M:
    """Parses a stored spec.

    Raises InvalidSpecError, with the advice, if the CRD did not refuse it, e.g. since it was stored under an older CRD.
    """
    try:
        return model.model_validate(spec)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise InvalidSpecError(f"spec.{path}: {first['msg']}: {advice}") from error


_TIME_ZONES = available_timezones()
"""Read once: that takes milliseconds, and specs are parsed in the event loop."""


def _existing_time_zone(name: str) -> str:
    if name not in _TIME_ZONES:
        raise ValueError(f"{name} is no time zone of the IANA database")
    return name


TimeZone: TypeAlias = Annotated[str, Field(max_length=64), AfterValidator(_existing_time_zone)]
"""The name of a time zone that exists."""

ObjectName: TypeAlias = Annotated[str, Field(min_length=1, max_length=253)]


class SecretRef(Model):
    """A reference to a Secret in the platform's namespace."""

    name: ObjectName = Field(description="Name of a Secret in the platform's namespace.")
