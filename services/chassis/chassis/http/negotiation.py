"""Content negotiation by the header Accept (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.routing import Route

from chassis.errors import ProblemError
from chassis.types.problem import Problem

NOT_ACCEPTABLE = Problem(406, "not_acceptable")
_JSON = "application/json"
_NO_CONTENT = 204


@dataclass(frozen=True, slots=True)
class _Range:
    """A media range of an Accept header, such as `text/*;q=0.5`, without its parameters but `q`."""

    type: str
    subtype: str
    quality: float

    def specificity(self, media_type: str) -> int | None:
        """Returns how precisely the range names a media type: from 0 for `*/*` to 2; None if it does not include it."""
        type_, _, subtype = media_type.partition("/")
        if (self.type, self.subtype) == ("*", "*"):
            return 0
        if self.type != type_:
            return None
        return 1 if self.subtype == "*" else 2 if self.subtype == subtype else None


async def require_acceptable(request: Request) -> None:
    """Raises ProblemError if the client accepts no media type that its route offers. Every API route depends on it."""
    route = request.scope.get("route")
    offered = offered_media_types(route)
    if offered and choose_media_type(request.headers.getlist("accept"), offered) is None:
        raise ProblemError(NOT_ACCEPTABLE, f"Accept: this route has {' and '.join(offered)}; accept one of them")


def offered_media_types(route: object) -> list[str]:
    """Returns the media types of a route's success, its own first; none if it has no content."""
    if not isinstance(route, Route) or getattr(route, "status_code", None) == _NO_CONTENT:
        return []
    response_class = getattr(route, "response_class", None)
    own = getattr(getattr(response_class, "value", response_class), "media_type", None) or _JSON
    documented = getattr(route, "responses", {}).get(200, {}).get("content", {})
    return list(dict.fromkeys([own, *documented]))


def choose_media_type(accept: Sequence[str], offered: Sequence[str]) -> str | None:
    """Returns the offered media type that a client prefers, None if it accepts none of them.

    Without the header, or one that cannot be read, the first is chosen. Of types with the same quality, the one that
    the client names more precisely wins, then the first.
    """
    ranges = [parsed for part in ",".join(accept).split(",") if (parsed := _parse(part)) is not None]
    if not ranges:
        return offered[0]
    preferences = [(*_preference(ranges, media_type), media_type) for media_type in offered]
    quality, _, media_type = max(preferences, key=lambda preference: preference[:2])
    return media_type if quality > 0 else None


def _preference(ranges: Sequence[_Range], media_type: str) -> tuple[float, int]:
    """Returns the quality that a client gives to a media type, by the most specific range, and that specificity."""
    matching = [(specificity, r.quality) for r in ranges if (specificity := r.specificity(media_type)) is not None]
    specificity, quality = max(matching, default=(0, 0.0))
    return quality, specificity


def _parse(media_range: str) -> _Range | None:
    media_type, *parameters = (part.strip().lower() for part in media_range.split(";"))
    type_, slash, subtype = media_type.partition("/")
    if not slash or not type_ or not subtype:
        return None
    qualities = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        quality = float(qualities[0]) if qualities else 1.0
    except ValueError:
        return None
    return _Range(type_, subtype, quality) if 0 <= quality <= 1 else None
