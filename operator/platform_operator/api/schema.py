"""What all models of the spec share: their base class, and validation rules of the CRD."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel


def rule(cel: str, message: str, field_path: str = "") -> dict[str, str]:
    """Returns a validation rule of the CRD: CEL over `self`, and a message that says what to write instead."""
    return {"rule": cel, "message": message} | ({"fieldPath": field_path} if field_path else {})


def rules(*rules: dict[str, str], **schema: JsonValue) -> dict[str, Any]:
    """Returns the schema extension that holds validation rules."""
    return {"x-kubernetes-validations": list(rules), **schema}


class Model(BaseModel):
    """The base of all parts of the spec: camel case names, immutable, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)
