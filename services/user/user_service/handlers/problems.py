"""Maps this service's errors to problems, for HTTP and gRPC."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from chassis.errors import ProblemError
from chassis.types.problem import Problem, ProblemTable

from user_service.domain.errors import (
    AccountDeactivated,
    AlreadyVerified,
    EmailTaken,
    InvalidMailToken,
    InvalidRefreshToken,
    LastAdmin,
    NotAllowed,
    PasswordRequired,
    PasswordTooCommon,
    RateLimited,
    RefreshTokenReused,
    SessionEnded,
    TooBusy,
    TooManyAttempts,
    TooManyMails,
    TooManyUsers,
    UnknownMailRequest,
    UnknownSession,
    UnknownUser,
    WrongCredentials,
)

PROBLEMS: ProblemTable = {
    EmailTaken: Problem(409, "email_taken"),
    WrongCredentials: Problem(401, "wrong_credentials"),
    PasswordTooCommon: Problem(422, "password_too_common"),
    AccountDeactivated: Problem(403, "account_deactivated"),
    InvalidRefreshToken: Problem(401, "invalid_refresh_token"),
    RefreshTokenReused: Problem(401, "refresh_token_reused"),
    SessionEnded: Problem(401, "session_ended", {"WWW-Authenticate": 'Bearer error="invalid_token"'}),
    UnknownUser: Problem(404, "unknown_user"),
    TooManyUsers: Problem(422, "too_many_users"),
    UnknownSession: Problem(404, "unknown_session"),
    UnknownMailRequest: Problem(404, "unknown_mail_request"),
    InvalidMailToken: Problem(401, "invalid_mail_token"),
    AlreadyVerified: Problem(409, "already_verified"),
    NotAllowed: Problem(403, "forbidden"),
    PasswordRequired: Problem(403, "password_required"),
    LastAdmin: Problem(409, "last_admin"),
    TooBusy: Problem(503, "too_busy", {"Retry-After": "3"}),
}

_RATE_LIMITED: ProblemTable = {
    TooManyAttempts: Problem(429, "too_many_attempts"),
    TooManyMails: Problem(429, "too_many_mails"),
}


@contextmanager
def retry_after_header() -> Iterator[None]:
    """Answers RateLimited errors with 429 and the Retry-After header (RFC 9110, 10.2.3) of the error."""
    try:
        yield
    except RateLimited as error:
        problem = replace(_RATE_LIMITED[type(error)], headers={"Retry-After": str(error.retry_after)})
        raise ProblemError(problem, str(error)) from error
