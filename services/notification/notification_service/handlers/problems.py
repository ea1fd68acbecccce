"""Maps the errors of this service to problems."""

from chassis.types.problem import Problem, ProblemTable

from notification_service.domain.errors import (
    AccountErased,
    ForgedCallback,
    HistoryForbidden,
    NotificationNotFailed,
    UnknownNotification,
)

PROBLEMS: ProblemTable = {
    UnknownNotification: Problem(404, "unknown_notification"),
    NotificationNotFailed: Problem(409, "not_failed"),
    AccountErased: Problem(409, "account_erased"),
    HistoryForbidden: Problem(403, "forbidden"),
    ForgedCallback: Problem(403, "forged_callback"),
}
