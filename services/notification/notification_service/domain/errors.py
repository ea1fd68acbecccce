"""What can go wrong with notifications."""

from uuid import UUID


class NotificationError(Exception):
    """The root of this service's errors."""


class UnknownNotification(NotificationError):
    """There is no such notification."""

    def __init__(self, notification_id: UUID) -> None:
        super().__init__(f"there is no notification {notification_id}")


class NotDead(NotificationError):
    """Only what has failed for good is sent again by hand."""

    def __init__(self, notification_id: UUID, status: str) -> None:
        super().__init__(f"notification {notification_id} is {status}: only a failed one can be retried")


class AccountErased(NotificationError):
    """The account is gone, and with it all that was kept for it."""

    def __init__(self) -> None:
        super().__init__("this account was erased: nothing is kept for it")


class HistoryOfAnother(NotificationError):
    """Somebody asks for what was sent to somebody else."""

    def __init__(self) -> None:
        super().__init__("only an admin may read what was sent to others: leave user_id out to read your own")


class RecipientGone(NotificationError):
    """The user service knows no such account (any more)."""


class TokenGone(NotificationError):
    """The request that a mail was to carry the token of is used, replaced or too old."""


class Unwanted(NotificationError):
    """The recipient has switched this off since, or has no address on this channel."""


class ForgedCallback(NotificationError):
    """A provider's callback whose signature is not the provider's."""

    def __init__(self) -> None:
        super().__init__("the signature does not fit: this callback is not from our provider")
