"""Which kinds of notifications a user receives, and on which channels.

Mails about a user's orders and stock are on by default, SMS are off by default, and mails that protect an account
cannot be switched off.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from notification_service.domain.notifications import Channel, Kind

_DEFAULTS: Mapping[tuple[Kind, Channel], bool] = {
    (Kind.ORDER_UPDATES, Channel.EMAIL): True,
    (Kind.ORDER_UPDATES, Channel.SMS): False,
    (Kind.STOCK_ALERTS, Channel.EMAIL): True,
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """The choices of one user. The defaults apply to everything else."""

    choices: Mapping[tuple[Kind, Channel], bool]

    def allow(self, kind: Kind, channel: Channel) -> bool:
        """Returns whether notifications of this kind are sent on this channel."""
        if kind is Kind.SECURITY:
            return channel is Channel.EMAIL
        return self.choices.get((kind, channel), _DEFAULTS.get((kind, channel), False))


@dataclass(frozen=True, slots=True)
class Recipient:
    """What decides whether a user is notified."""

    is_erased: bool
    preferences: Preferences
