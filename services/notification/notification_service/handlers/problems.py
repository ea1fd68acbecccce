"""What this service's errors look like outside."""

from chassis.types.problem import Problem, ProblemTable

from notification_service.domain.errors import (
    AccountErased,
    ForgedCallback,
    HistoryOfAnother,
    NotDead,
    UnknownNotification,
)

PROBLEMS: ProblemTable = {
    UnknownNotification: Problem(404, "unknown_notification"),
    NotDead: Problem(409, "not_failed"),
    AccountErased: Problem(409, "account_erased"),
    HistoryOfAnother: Problem(403, "forbidden"),
    ForgedCallback: Problem(403, "forged_callback"),
}
