"""The shape of an error's document (RFC 9457), as OpenAPI documents describe it."""

from collections.abc import Mapping

PROBLEM_SCHEMA: Mapping[str, object] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "stable; what programs read"},
        "detail": {"type": "string", "description": "what happened and what to do; what people read"},
        "errors": {
            "type": "array",
            "description": "of `invalid_field`: what is wrong with which",
            "items": {
                "title": "FieldError",
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}
"""JSON Schema. Some codes have members of their own."""
