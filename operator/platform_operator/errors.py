"""The errors of the operator. Each message says what happened, to what, and what to do."""

from __future__ import annotations

NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The cause by which the API server says that a namespace is being deleted. Its reason is that of any refusal."""


class OperatorError(Exception):
    """The root of the operator's own errors."""


class SettingsError(OperatorError):
    """An environment variable is missing or malformed."""


class InvalidSpecError(OperatorError):
    """The custom resource's spec cannot be parsed. Only a change of the spec helps."""


class StoreLeftBehindError(InvalidSpecError):
    """The spec asks for an empty store beside the data of an earlier one. A change of the spec, or the deletion of the
    data, helps."""


class PlatformInvalidError(InvalidSpecError):
    """The spec of a platform that a restore needs cannot be parsed. The restore waits until it is corrected."""


class TenantError(OperatorError):
    """Nothing can be applied for a tenant as it stands. Only a change of the Tenant, its plan or the cluster helps."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RenderError(OperatorError):
    """Helm did not turn the chart values into manifests. Only a change of the spec or of the charts helps."""


class NameTakenError(OperatorError):
    """An object that the operator needs has a name that another object has, which is left alone."""


class RenderTimeoutError(RenderError):
    """Helm did not finish in time. A later attempt may succeed."""


class MasterKeyMissingError(OperatorError):
    """There is no master key, and none may be created. Only restoring it helps."""


class MasterKeyChangedError(OperatorError):
    """The credentials of a platform were derived from another master key: they must not be replaced."""


class LeadershipLostError(OperatorError):
    """The process may no longer hold the Lease: it must not write and has to exit."""


class OtherInstallationError(LeadershipLostError):
    """An older installation of the operator reconciles the same shops: this one has to give up its Lease."""


class UnexpectedError(OperatorError):
    """A pass raised an error that no part of the operator expects: a fault of the operator, or input it does not know.

    A later pass may succeed.
    """


class ScrapeError(OperatorError):
    """The metrics of a service could not be read. The next scrape may succeed."""


class ApiError(OperatorError):
    """The API server refused a request, or did not answer it. A status of 0 means that there was no answer.

    `retry_after` is the number of seconds that the API server asks its clients to wait (RFC 9110, 10.2.3).
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def transient(self) -> bool:
        """Tells whether the same request may succeed later without any change."""
        return self.status in (0, 408, 409, 429) or self.status >= 500

    @property
    def is_server_failure(self) -> bool:
        """Tells whether the API server has failed (5xx), such as by an admission webhook that does not answer, without
        saying how long to wait."""
        return self.status >= 500 and not self.retry_after

    @property
    def conflict(self) -> bool:
        """Tells whether a write was refused as out of date (409): the object was changed since it was read, exists
        already, or has another uid. The object has to be read again, and the write decided by that."""
        return self.status == 409

    @property
    def namespace_terminating(self) -> bool:
        """Tells whether nothing can be created since the namespace is being deleted: no fault of anything."""
        return self.reason == NAMESPACE_TERMINATING

    @property
    def invalid(self) -> bool:
        """Tells whether the API server understood the object and found it invalid."""
        return self.status == 422


class StaleReadError(ApiError):
    """An object was changed after it was read: what was decided by it is not written. A later pass reads it again."""

    def __init__(self, message: str) -> None:
        super().__init__(409, "Conflict", message)
