"""Renders operations as Python modules."""

import json
from collections.abc import Sequence

from generating.reading import Operation, Parameter


def operations_module(service: str, operations: Sequence[Operation]) -> str:
    methods = "\n\n".join(method_text(operation) for operation in operations)
    return f"""from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from ecommerce_client import models
from ecommerce_client.connection import Call, Connection
from ecommerce_client.listing import Listing
from ecommerce_client.models import {service}


class {class_name(service)}:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

{methods}
"""


def all_operations(services: Sequence[str]) -> str:
    imports = "\n".join(f"from ecommerce_client.operations.{name} import {class_name(name)}" for name in services)
    members = "\n".join(f"        self.{name} = {class_name(name)}(connection)" for name in services)
    return f'''from ecommerce_client.connection import Connection
{imports}


class Operations:
    """The operations of a shop, by the service that performs them."""

    def __init__(self, connection: Connection) -> None:
{members}
'''


def class_name(service: str) -> str:
    return f"{service.title().replace('_', '')}Operations"


def method_text(operation: Operation) -> str:
    """Returns the method of an operation, whose body is the call."""
    response, call = operation.response, call_text(operation)
    signature = f"{operation.name}(self{arguments(operation)})"
    match response.method:
        case "list":
            head = f"def {signature} -> Listing[{response.type}, {response.item}]:"
            last = f"return Listing(self._connection, {response.type}, {call})"
        case "send":
            head = f"async def {signature} -> None:"
            last = f"await self._connection.send({call})"
        case method:
            head = f"async def {signature} -> {response.type}:"
            last = f"return await self._connection.{method}({response.type}, {call})"
    return f"    {head}\n{docstring(operation)}        {last}"


def arguments(operation: Operation) -> str:
    """Returns the arguments of a method: path and body by position, since every call has them, others by keyword."""
    positional = [given for place in ("path", "body") for given in parameters_in(operation, place)]
    named = [given for place in ("query", "header") for given in parameters_in(operation, place)]
    declared = [given.declared for given in positional] + (["*"] if named else []) + [given.declared for given in named]
    return "".join(f", {one}" for one in declared)


def parameters_in(operation: Operation, place: str) -> list[Parameter]:
    return [given for given in operation.parameters if given.place == place]


def call_text(operation: Operation) -> str:
    parts = [f'"{operation.method}"', f'"{operation.path}"']
    for place, member in (("path", "path_values"), ("query", "query"), ("header", "headers")):
        if sent := parameters_in(operation, place):
            parts.append(f"{member}={{{', '.join(f'{json.dumps(one.name)}: {one.argument}' for one in sent)}}}")
    parts += ["body=body" for _ in parameters_in(operation, "body")]
    return f"Call({', '.join(parts)})"


def docstring(operation: Operation) -> str:
    """Returns the description of an operation, then those of its arguments."""
    described = [f"`{one.argument}`: {one.description}" for one in operation.parameters if one.description]
    paragraphs = [*operation.description, *(["\n".join(described)] if described else [])]
    if not paragraphs:
        return ""
    first, *more = "\n\n".join(paragraphs).replace("\\", "\\\\").split("\n")
    if not more:
        return f'        """{first}."""\n'
    return "\n".join([f'        """{first}.', *(f"        {line}" if line else "" for line in more), '        """\n'])
