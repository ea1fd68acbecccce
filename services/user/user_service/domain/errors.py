"""What can go wrong with users and their sessions."""

from chassis.kernel.ids import UserId


class UserError(Exception):
    """The root of this service's errors."""


class EmailTaken(UserError):  # noqa: N818 - named for what happened
    """There is an account with this e-mail address."""

    def __init__(self) -> None:
        super().__init__("there is an account with this e-mail address: log in at POST /auth/login, or use another")


class WrongCredentials(UserError):  # noqa: N818 - named for what happened
    """No account has this e-mail address and this password. It does not say which of them is wrong."""

    def __init__(self) -> None:
        super().__init__("no account has this e-mail address and this password")


class InvalidRefreshToken(UserError):  # noqa: N818 - named for what happened
    """The refresh token belongs to no session: it was never ours, or its session has ended."""

    def __init__(self) -> None:
        super().__init__(
            "the refresh token belongs to no session, or to one that has ended: log in at POST /auth/login"
        )


class RefreshTokenReused(UserError):  # noqa: N818 - named for what happened
    """A refresh token was used a second time, so somebody else may hold it: its session is ended (RFC 9700, 4.14.2)."""

    def __init__(self) -> None:
        super().__init__("the refresh token was used before, so its session is ended: log in at POST /auth/login")


class UnknownUser(UserError):  # noqa: N818 - named for what happened
    """There is no such user, or the caller may not know of them."""

    def __init__(self, user_id: UserId) -> None:
        super().__init__(f"there is no user {user_id}")


class TooBusy(UserError):  # noqa: N818 - named for what happened
    """More passwords wait for their hash than can be hashed in time."""

    def __init__(self) -> None:
        super().__init__("too many people register and log in right now: try again in a moment")
