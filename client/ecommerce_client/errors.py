"""What a shop says no with."""

import httpx
from pydantic import ValidationError

from ecommerce_client.models import Problem


class ProblemError(Exception):
    """The shop answered with an error: an RFC 9457 problem. docs/api/errors.md says of every `code` what to do.

    Where something in front of the shop answered, which knows no codes, `code` is empty, and `problem.type` is `about:blank`.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.problem = _problem(response)
        """All that the shop says of it; `model_extra` has the members that belong to its code alone."""
        self.status = response.status_code
        self.code = self.problem.code
        self.retry_after = _seconds(response.headers.get("retry-after", ""))
        """How long to wait, in seconds; 0 where the shop does not say."""
        request = response.request
        super().__init__(f"{request.method} {request.url.path}: {self.status} {self.code}: {self.problem.detail}")


def _problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        status, title = response.status_code, response.reason_phrase
        return Problem(type="about:blank", title=title, status=status, code="", detail=response.text[:300])


def _seconds(retry_after: str) -> float:
    """Of a `Retry-After`; one that is a date counts as not said: shops send seconds."""
    return float(retry_after) if retry_after.isdigit() else 0.0
