"""What can go wrong with users and their sessions."""

from datetime import timedelta
from math import ceil
from uuid import UUID

from chassis.types.ids import UserId


class UserError(Exception):
    """The root of this service's errors."""


class EmailTaken(UserError):
    """There is an account with this e-mail address."""

    def __init__(self) -> None:
        super().__init__("there is an account with this e-mail address: log in at POST /auth/login, or use another")


class WrongCredentials(UserError):
    """No account has this e-mail address and this password. It does not say which of them is wrong."""

    def __init__(self) -> None:
        super().__init__("no account has this e-mail address and this password")


class InvalidRefreshToken(UserError):
    """The refresh token belongs to no session: it was never ours, or its session has ended."""

    def __init__(self) -> None:
        super().__init__(
            "the refresh token belongs to no session, or to one that has ended: log in at POST /auth/login"
        )


class RefreshTokenReused(UserError):
    """A refresh token was used a second time, so somebody else may hold it: its session is ended (RFC 9700, 4.14.2)."""

    def __init__(self) -> None:
        super().__init__("the refresh token was used before, so its session is ended: log in at POST /auth/login")


class UnknownUser(UserError):
    """There is no such user, or the caller may not know of them."""

    def __init__(self, user_id: UserId) -> None:
        super().__init__(f"there is no user {user_id}")


class TooBusy(UserError):
    """More passwords wait for their hash than can be hashed in time."""

    def __init__(self) -> None:
        super().__init__("too many people register and log in right now: try again in a moment")


class NotAllowed(UserError):
    """Only an admin may do this, and the caller is none, or no longer."""

    def __init__(self) -> None:
        super().__init__("only an admin may decide about roles, activity and other people's accounts")


class LastAdmin(UserError):
    """Without this admin there would be none."""

    def __init__(self, user_id: UserId) -> None:
        super().__init__(f"user {user_id} is the last active admin: make another one first")


class Deactivated(UserError):
    """The password is right, but an admin has deactivated the account."""

    def __init__(self) -> None:
        super().__init__("this account is deactivated: ask the shop")


class SessionEnded(UserError):
    """The access token is still good elsewhere for a while, but its session or account is over."""

    def __init__(self) -> None:
        super().__init__("the session of this access token has ended: log in at POST /auth/login")


class UnknownSession(UserError):
    """There is no such session, or it is somebody else's."""

    def __init__(self, session_id: UUID) -> None:
        super().__init__(f"you have no session {session_id}")


class UnknownMailRequest(UserError):
    """There is nothing to mail: the request was never made, or is used, replaced or too old."""

    def __init__(self) -> None:
        super().__init__("there is no such request, or it is used, replaced or too old: send nothing")


class InvalidMailToken(UserError):
    """A mailed token that is not ours, or not good any more. It does not say which."""

    def __init__(self) -> None:
        super().__init__("the token is wrong, used or too old: ask for a new mail")


class AlreadyVerified(UserError):
    """There is no address left to verify."""

    def __init__(self) -> None:
        super().__init__("your e-mail address is verified, and no other waits to be")


class TooMany(UserError):
    """Something was tried too often. `wait` is how long to leave it."""

    def __init__(self, what: str, wait: timedelta) -> None:
        self.retry_after = max(1, ceil(wait.total_seconds()))
        """In whole seconds, as Retry-After wants it."""
        super().__init__(f"{what}: try again in {self.retry_after} s")


class TooManyAttempts(TooMany):
    """Too many wrong passwords for an address, whether or not there is an account with it."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("too many wrong passwords for this e-mail address", wait)


class TooManyMails(TooMany):
    """An account may ask for so many mails and no more."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("too many mails were asked for", wait)
