"""Errors of users, their sessions and their mail tokens."""

from datetime import timedelta
from math import ceil
from uuid import UUID

from chassis.types.ids import UserId


class UserError(Exception):
    """The root of this service's errors."""


class EmailTaken(UserError):
    """An account with this e-mail address exists."""

    def __init__(self) -> None:
        super().__init__("there is an account with this e-mail address: log in at POST /auth/login, or use another")


class WrongCredentials(UserError):
    """No account has this e-mail address and this password. The error does not say which of them is wrong."""

    def __init__(self) -> None:
        super().__init__("no account has this e-mail address and this password")


class PasswordTooCommon(UserError):
    """A new password is one that attackers try first."""

    def __init__(self) -> None:
        super().__init__(
            "this password is easy to guess: choose one that is not common and not your own name or address"
        )


class InvalidRefreshToken(UserError):
    """The refresh token belongs to no session: this service never issued it, or its session has ended."""

    def __init__(self) -> None:
        super().__init__(
            "the refresh token belongs to no session, or to one that has ended: log in at POST /auth/login"
        )


class RefreshTokenReused(UserError):
    """A refresh token was used a second time and may be stolen, so its session was ended (RFC 9700, 4.14.2)."""

    def __init__(self) -> None:
        super().__init__("the refresh token was used before, so its session is ended: log in at POST /auth/login")


class UnknownUser(UserError):
    """The user does not exist, or the caller may not know that they do."""

    def __init__(self, user_id: UserId) -> None:
        super().__init__(f"there is no user {user_id}")


class TooManyUsers(UserError):
    """One call asks for more users than it may."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"{count} users in one call are too many: ask for at most {limit}")


class TooBusy(UserError):
    """More passwords wait to be hashed than can be hashed in time."""

    def __init__(self) -> None:
        super().__init__("too many people register and log in right now: try again in a moment")


class NotAllowed(UserError):
    """The operation is for admins, and the caller is not an admin, or is no longer one."""

    def __init__(self) -> None:
        super().__init__("only an admin may change roles and activity, or manage other people's accounts")


class PasswordRequired(UserError):
    """An account's own user tried to erase it without its password."""

    def __init__(self) -> None:
        super().__init__("erase your own account at DELETE /users/me, with your password as current_password")


class LastAdmin(UserError):
    """The operation would leave the shop without an active admin."""

    def __init__(self, user_id: UserId) -> None:
        super().__init__(f"user {user_id} is the last active admin: make another one first")


class AccountDeactivated(UserError):
    """The password is right, but an admin has deactivated the account."""

    def __init__(self) -> None:
        super().__init__("this account is deactivated: contact the shop")


class SessionEnded(UserError):
    """The access token is not expired, but its session or its account has ended."""

    def __init__(self) -> None:
        super().__init__("the session of this access token has ended: log in at POST /auth/login")


class UnknownSession(UserError):
    """The session does not exist, or belongs to another user."""

    def __init__(self, session_id: UUID) -> None:
        super().__init__(f"you have no session {session_id}")


class UnknownMailRequest(UserError):
    """No mail is to be sent: the request was never made, or it is used, replaced or expired."""

    def __init__(self) -> None:
        super().__init__("there is no such request, or it is used, replaced or expired: send nothing")


class InvalidMailToken(UserError):
    """The mail token was not issued by this service, or is no longer valid. The error does not say which."""

    def __init__(self) -> None:
        super().__init__("the token is wrong, used or expired: request a new mail")


class AlreadyVerified(UserError):
    """The account has no e-mail address left to verify."""

    def __init__(self) -> None:
        super().__init__("your e-mail address is verified, and no new address waits for verification")


class RateLimited(UserError):
    """A limited operation was requested too often. `wait` is the time until the next attempt is allowed."""

    def __init__(self, what: str, wait: timedelta) -> None:
        self.retry_after = max(1, ceil(wait.total_seconds()))
        """The wait in whole seconds, as the Retry-After header takes it."""
        super().__init__(f"{what}: try again in {self.retry_after} s")


class TooManyAttempts(RateLimited):
    """Too many wrong passwords were sent for an e-mail address, whether or not an account has it."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("too many wrong passwords for this e-mail address", wait)


class TooManyMails(RateLimited):
    """The account has requested as many mails as it may within the window."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("too many mails were requested", wait)
