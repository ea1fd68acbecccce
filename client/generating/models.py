"""Generates Pydantic models from the schemas of an OpenAPI document, with datamodel-code-generator."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from generating.reading import Json, data_schema

_STYLE: Final = (
    *("--input-file-type", "openapi", "--openapi-scopes", "schemas", "--output-model-type", "pydantic_v2.BaseModel"),
    *("--target-python-version", "3.11", "--use-standard-collections", "--use-union-operator", "--use-type-alias"),
    *("--enum-field-as-literal", "all", "--output-datetime-class", "AwareDatetime", "--enable-faux-immutability"),
    *("--use-schema-description", "--use-field-description", "--use-title-as-name"),
    *("--disable-timestamp", "--formatters", "ruff-format"),
)
_CHECKED_BY_SHOP: Final = frozenset(
    {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "not", "examples"}
)
"""Keywords that models omit, because the shop checks them."""


def models(schemas: Json, header: str) -> dict[str, str]:
    """Returns the text of each module of models/: one for each service, and shared models in `__init__`."""
    kept = {name: without_title(simplified(schema)) for name, schema in schemas.items() if data_schema(schema) is None}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "", "version": ""},
        "paths": {},
        "components": {"schemas": kept},
    }
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "document.json", Path(folder) / "models"
        source.write_text(json.dumps(document))
        command = [sys.executable, "-m", "datamodel_code_generator", "--input", str(source), "--output", str(target)]
        subprocess.run([*command, *_STYLE, "--custom-file-header", header], check=True)
        return {path.name: path.read_text() for path in sorted(target.glob("*.py"))}


def simplified(schema: Any) -> Any:
    """Returns a schema without keywords that the shop checks and without titles, which repeat the names of fields."""
    match schema:
        case {"properties": dict(properties), **rest}:
            fields = {name: without_title(simplified(field)) for name, field in properties.items()}
            return {**simplified(rest), "properties": fields}
        case dict():
            return {
                name: simplified(part)
                for name, part in schema.items()
                if name not in _CHECKED_BY_SHOP and not is_secret(name, part)
            }
        case list():
            return [simplified(part) for part in schema]
        case _:
            return schema


def is_secret(name: str, part: object) -> bool:
    """Returns whether a keyword is `format: password`, which would become a SecretStr, which is sent as asterisks."""
    return (name, part) == ("format", "password")


def without_title(schema: Json) -> Json:
    return {name: part for name, part in schema.items() if name != "title"}
