"""The errors that the chassis raises, and the problems that a client sees of those which any service may raise."""

from typing import Any

from chassis.types.problem import Problem, ProblemTable


class ProblemError(Exception):
    """An error that carries its own problem, which an HTTP handler raises directly."""

    def __init__(self, problem: Problem, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.problem = problem
        self.members = members


class NeighbourUnavailable(Exception):
    """Another service did not answer in time. This service has changed nothing; the call may be repeated."""


class MethodNotServed(NeighbourUnavailable):
    """Another service does not know a method, or does not let this service call it: during an upgrade, its release may
    be the one before this service's.
    """


class NeighbourRefused(Exception):
    """Another service refused a call. `code` is the stable code of its problem, `members` are the further members."""

    def __init__(self, code: str, detail: str, members: dict[str, Any]) -> None:
        super().__init__(detail)
        self.code = code
        self.members = members


class DatabaseUnavailable(Exception):
    """The database is down, restarting, not migrated, or out of connections.

    The transaction was rolled back, unless only the answer to its commit was lost.
    """


class SchemaAhead(Exception):
    """The database has the schema of a newer release, on which this release's code may not run."""


class DataLost(Exception):
    """A database that was migrated before has no schema: its volume was lost or replaced, so its data is gone."""


class BrokerUnavailable(Exception):
    """The broker is down or did not confirm a message. The event stays in the outbox."""


class PublishRefused(Exception):
    """The broker refused one message, or has no queue for it. The event stays in the outbox, others are published."""


class MalformedEvent(Exception):
    """The message is not an event that any consumer can read. It is dead-lettered at once."""


class ForgedEvent(Exception):
    """Another service than the producer of its type sent the event. It is dead-lettered at once, and never applied."""


class UnknownEvent(Exception):
    """This release does not know the event type.

    A newer release has subscribed to it, and runs beside this one or was rolled back to it.
    """


class RuntimeRoleRefused(Exception):
    """The role that the service shall log in as cannot be set up. The message says why, and what to do."""


class ResendRefused(Exception):
    """Events cannot be resent with these arguments. The message says why, and what to choose instead."""


class IdempotencyKeyReused(Exception):
    """An idempotency key was sent again with a different request."""


class SettingsError(Exception):
    """The environment has no valid settings. The message is one line that names each invalid variable."""


_RETRY_SOON = {"Retry-After": "1"}
COMMON_PROBLEMS: ProblemTable = {
    NeighbourUnavailable: Problem(503, "neighbour_unavailable", _RETRY_SOON),
    DatabaseUnavailable: Problem(503, "database_unavailable", _RETRY_SOON),
    IdempotencyKeyReused: Problem(422, "idempotency_key_reused"),
}
"""Problems that any service may answer with. A dependency that is down is a 503: not the caller's error, not a bug."""


def find_problem(error: Exception, table: ProblemTable) -> Problem | None:
    """Returns the problem of the error's nearest class in `table` or COMMON_PROBLEMS; None for an unexpected error."""
    if isinstance(error, ProblemError):
        return error.problem
    for error_class in type(error).__mro__:
        problem = table.get(error_class) or COMMON_PROBLEMS.get(error_class)
        if problem is not None:
            return problem
    return None
