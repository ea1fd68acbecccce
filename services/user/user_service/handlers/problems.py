"""What this service's errors look like outside, over HTTP and gRPC alike."""

from chassis.problems import Problem, ProblemTable

from user_service.domain.errors import (
    EmailTaken,
    InvalidRefreshToken,
    RefreshTokenReused,
    TooBusy,
    UnknownUser,
    WrongCredentials,
)

PROBLEMS: ProblemTable = {
    EmailTaken: Problem(409, "email_taken"),
    WrongCredentials: Problem(401, "wrong_credentials"),
    InvalidRefreshToken: Problem(401, "invalid_refresh_token"),
    RefreshTokenReused: Problem(401, "refresh_token_reused"),
    UnknownUser: Problem(404, "unknown_user"),
    TooBusy: Problem(503, "too_busy", {"Retry-After": "3"}),
}
