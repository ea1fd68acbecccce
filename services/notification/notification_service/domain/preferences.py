"""Who wants to hear what, and how. Pure.

Mail about one's orders and one's stock is on until it is switched off, text messages are off until somebody asks for them, and
what protects an account cannot be switched off.
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
    """What somebody chose; for the rest the defaults hold."""

    chosen: Mapping[tuple[Kind, Channel], bool]

    def wants(self, kind: Kind, channel: Channel) -> bool:
        if kind is Kind.SECURITY:
            return channel is Channel.EMAIL
        return self.chosen.get((kind, channel), _DEFAULTS.get((kind, channel), False))
