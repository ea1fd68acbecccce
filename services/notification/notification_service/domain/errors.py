"""The errors of this service."""

from uuid import UUID

from notification_service.domain.notifications import Reason


class NotificationError(Exception):
    """The root of this service's errors."""


class UnknownNotification(NotificationError):
    """No notification has this id."""

    def __init__(self, notification_id: UUID) -> None:
        super().__init__(f"there is no notification {notification_id}")


class NotificationNotFailed(NotificationError):
    """The notification cannot be retried, because it has not failed."""

    def __init__(self, notification_id: UUID, status: str) -> None:
        super().__init__(f"notification {notification_id} is {status}: only a failed one can be retried")


class AccountErased(NotificationError):
    """The account was erased, with all data of it in this service."""

    def __init__(self) -> None:
        super().__init__("this account was erased: nothing is stored for it")


class HistoryForbidden(NotificationError):
    """A caller who is not an admin asked for the notifications of another user."""

    def __init__(self) -> None:
        super().__init__("only an admin may read another user's notifications: leave user_id out to read your own")


class RecipientGone(NotificationError):
    """The user service does not know the account, or no longer."""


class TokenGone(NotificationError):
    """The one-time token that a mail was to contain was used, replaced or has expired."""


class ChannelUnavailable(NotificationError):
    """The recipient has switched this channel off since the notification was stored, or has no address on it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class NoProvider(NotificationError):
    """The shop has no provider for the channel of a notification."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class ForgedCallback(NotificationError):
    """The signature of a provider's callback is not the provider's."""

    def __init__(self) -> None:
        super().__init__("the signature does not match: this callback is not from our provider")
