"""What all models of a spec share: their base class, references to Secrets, and validation rules of the CRD."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue
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


ObjectName: TypeAlias = Annotated[str, Field(min_length=1, max_length=253)]


class SecretRef(Model):
    """A reference to a Secret in the platform's namespace."""

    name: ObjectName = Field(description="Name of a Secret in the platform's namespace.")
