"""The schemas of an OpenAPI document as Pydantic models, which datamodel-code-generator writes."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from generating.reading import Json, wrapped

_STYLE: Final = (
    *("--input-file-type", "openapi", "--openapi-scopes", "schemas", "--output-model-type", "pydantic_v2.BaseModel"),
    *("--target-python-version", "3.11", "--use-standard-collections", "--use-union-operator", "--use-type-alias"),
    *("--enum-field-as-literal", "all", "--output-datetime-class", "AwareDatetime", "--enable-faux-immutability"),
    *("--use-schema-description", "--use-field-description", "--use-title-as-name"),
    *("--disable-timestamp", "--formatters", "ruff-format"),
)
_THE_SHOPS_TO_HOLD: Final = frozenset(
    {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "not", "examples"}
)


def models(schemas: Json, header: str) -> dict[str, str]:
    """Generates the modules of models/: one for each service, and shared models in `__init__`."""
    wanted = {name: without_title(plain(schema)) for name, schema in schemas.items() if wrapped(schema) is None}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "", "version": ""},
        "paths": {},
        "components": {"schemas": wanted},
    }
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "document.json", Path(folder) / "models"
        source.write_text(json.dumps(document))
        command = [sys.executable, "-m", "datamodel_code_generator", "--input", str(source), "--output", str(target)]
        subprocess.run([*command, *_STYLE, "--custom-file-header", header], check=True)
        return {path.name: path.read_text() for path in sorted(target.glob("*.py"))}


def plain(schema: Any) -> Any:
    """The schema without what is the shop's to hold, and without the titles that only repeat a field's name."""
    match schema:
        case {"properties": dict(properties), **rest}:
            fields = {name: without_title(plain(field)) for name, field in properties.items()}
            return {**plain(rest), "properties": fields}
        case dict():
            return {
                name: plain(part)
                for name, part in schema.items()
                if name not in _THE_SHOPS_TO_HOLD and not is_secret(name, part)
            }
        case list():
            return [plain(part) for part in schema]
        case _:
            return schema


def is_secret(name: str, part: object) -> bool:
    """`format: password` would become a SecretStr, which is sent as asterisks."""
    return (name, part) == ("format", "password")


def without_title(schema: Json) -> Json:
    return {name: part for name, part in schema.items() if name != "title"}
