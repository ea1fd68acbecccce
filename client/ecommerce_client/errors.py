"""The error that operations raise."""

import httpx
from pydantic import ValidationError

from ecommerce_client.models import Problem


class ProblemError(Exception):
    """The shop returned an error: an RFC 9457 problem. docs/api/errors.md describes what to do for each `code`.

    If the error comes from a proxy in front of the shop, which knows no codes, `code` is empty and `problem.type` is
    `about:blank`.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.problem = _problem(response)
        """The whole problem; `model_extra` has the members that only its code has."""
        self.status = response.status_code
        self.code = self.problem.code
        self.retry_after = _seconds(response.headers.get("retry-after", ""))
        """Seconds to wait before a retry; 0 if the shop does not send it."""
        request = response.request
        super().__init__(f"{request.method} {request.url.path}: {self.status} {self.code}: {self.problem.detail}")


def _problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        status, title = response.status_code, response.reason_phrase
        return Problem(type="about:blank", title=title, status=status, code="", detail=response.text[:300])


def _seconds(retry_after: str) -> float:
    """Returns the seconds of a `Retry-After` header; 0 for a date, which shops do not send."""
    return float(retry_after) if retry_after.isdigit() else 0.0
