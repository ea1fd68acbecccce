"""Responses as CSV (RFC 4180) for clients that prefer `text/csv`, for spreadsheets.

A router whose `route_class` is CsvRoute does so for the routes that are documented with CSV_RESPONSES. One row is one
item of `data`; a page of a list stays a page, with a Link to the next one.
"""

import csv
import io
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import URL

from chassis.http.negotiation import choose_media_type, offered_media_types

CSV = "text/csv"
CSV_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            CSV: {
                "schema": {
                    "type": "string",
                    "description": "RFC 4180, in UTF-8, with a header row. Fields of objects are columns of their own"
                    " (`total.amount`, `total.currency`), lists are JSON. Text that a spreadsheet would take for a"
                    " formula begins with an apostrophe. A page is followed by the one in the header Link.",
                }
            }
        }
    }
}
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What begins a formula in a spreadsheet, also in full width: https://owasp.org/www-community/attacks/CSV_Injection."""

Path = tuple[str, ...]
"""The names of nested fields, outermost first."""


class CsvRoute(APIRoute):
    """A route whose response is CSV if its documentation offers that and the client prefers it to JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        respond = super().get_route_handler()
        offered = offered_media_types(self)
        if CSV not in offered:
            return respond
        columns = list(_columns(_row_model(self.response_model)))

        async def respond_negotiated(request: Request) -> Response:
            response = await respond(request)
            if response.status_code == 200 and choose_media_type(request.headers.getlist("accept"), offered) == CSV:
                response = _csv_response(request, json.loads(bytes(response.body)), columns, response)
            response.headers.append("Vary", "Accept")
            return response

        return respond_negotiated


@dataclass(frozen=True, slots=True)
class _Page:
    """The numbers of a page of a list."""

    page: int
    limit: int
    total: int

    @property
    def is_last(self) -> bool:
        return self.page * self.limit >= self.total


def _csv_response(request: Request, body: Mapping[str, Any], columns: Sequence[Path], original: Response) -> Response:
    data = body["data"]
    response = Response(
        to_csv(data if isinstance(data, list) else [data], columns), media_type=f"{CSV}; charset=utf-8; header=present"
    )
    for name, value in original.headers.items():
        if name not in ("content-length", "content-type"):
            response.headers[name] = value
    response.headers["Content-Disposition"] = f'attachment; filename="{request.url.path.rsplit("/", 1)[-1]}.csv"'
    following = _next_page(request, body)
    if following is not None:
        response.headers["Link"] = f'<?{following.query}>; rel="next"'
    return response


def _next_page(request: Request, body: Mapping[str, Any]) -> URL | None:
    """Returns the address of the page after a page of a list: by its cursor if it has one, else by its number."""
    if "next" in body:
        by_cursor = request.url.remove_query_params("page")
        return None if body["next"] is None else by_cursor.include_query_params(cursor=body["next"])
    if "total" not in body or _Page(body["page"], body["limit"], body["total"]).is_last:
        return None
    return request.url.include_query_params(page=body["page"] + 1)


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[Path]) -> str:
    """Returns a table with a header row, in the format of RFC 4180."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(".".join(column) for column in columns)
    table.writerows([_cell(_value(row, column)) for column in columns] for row in rows)
    return text.getvalue()


def _value(row: object, column: Path) -> object:
    """Returns the value of a nested field, None if an object around it is null."""
    for name in column:
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def _cell(value: object) -> object:
    if isinstance(value, bool | list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _row_model(response_model: Any) -> type[BaseModel]:
    """Returns the model of the items of `data`, or of `data` itself."""
    data = response_model.model_fields["data"].annotation
    while get_origin(data) is not None:
        data = get_args(data)[0]
    if not (isinstance(data, type) and issubclass(data, BaseModel)):
        raise TypeError(f"{response_model} has no rows")
    return data


def _columns(model: type[BaseModel], path: Path = ()) -> Iterator[Path]:
    """Yields the columns of a model: its fields in their order, with those of nested models in place of these."""
    for name, field in model.model_fields.items():
        nested = _nested_model(field.annotation)
        if nested is None:
            yield (*path, name)
        else:
            yield from _columns(nested, (*path, name))


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    """Returns the model that a field has, also if it may be null; None for other types, and for lists."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    return models[0] if models else None
