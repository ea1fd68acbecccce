"""Everything that the operator can fail at. Each message says what happened, to what, and what to do."""

from __future__ import annotations


class OperatorError(Exception):
    """The root of the operator's own errors."""


class SettingsError(OperatorError):
    """The process's environment does not make a working operator."""


class InvalidSpecError(OperatorError):
    """The custom resource's spec cannot be understood. Only a change of the spec helps."""


class RenderError(OperatorError):
    """Helm did not turn the values into manifests. Only a change of the spec or of the charts helps, or time: see below."""


class RenderTimeoutError(RenderError):
    """Helm did not finish in time. It may when it is tried again."""


class DeposedError(OperatorError):
    """The Lease is no longer surely ours: nothing may be written, the process has to end."""


class UnreadableError(OperatorError):
    """A shop's figures could not be read. The next round may succeed."""


class ApiError(OperatorError):
    """The API server refused a request, or did not answer it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later without anybody changing anything."""
        return self.status in (0, 408, 409, 429) or self.status >= 500

    @property
    def invalid(self) -> bool:
        """Whether the API server understood the object and found it wrong."""
        return self.status == 422
