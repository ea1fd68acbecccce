"""Who sent a message, by what the broker verifies: the sender's user, and the keys that a user may publish with.

A service whose broker user is its own (named `order` or, on a broker that several shops share, `<shop>.order`) applies
an event only if its type's producer sent it. With one user for all services the broker cannot tell them apart, and no
sender is checked (docs/adr/0028-broker-users.md). While passwords are rotated, some pods of a service have its second
user, `2.order` or `<shop>.2.order` (docs/adr/0051).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from chassis.errors import ForgedEvent
from chassis.messaging.topology import EventType, Topology, retry_exchange

SECOND = "2."
"""Comes before the name of a service in that of its second user."""
PRODUCER = "x-producer"
"""The header in which a consumer names the user that sent a message which it publishes again for a retry."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the broker says of a message: the verified user, and the exchange and routing key that it came through."""

    user: str | None
    exchange: str
    routing_key: str
    headers: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """The user with which a service connects to the broker."""

    name: str
    service: str

    @property
    def is_own(self) -> bool:
        """True for a user that only this service has, False for one that services share."""
        return self.name.rpartition(".")[2] == self.service

    def users_of(self, service: str) -> frozenset[str]:
        """Returns the users of a service of the same shop."""
        shop = self.name.removesuffix(self.service)
        if shop == SECOND or shop.endswith(f".{SECOND}"):  # not that of a shop whose name ends in 2
            shop = shop.removesuffix(SECOND)
        return frozenset((f"{shop}{service}", f"{shop}{SECOND}{service}"))

    def sender_of(self, origin: Origin, topology: Topology) -> str | None:
        """Returns the user that sent a message.

        A message from this service itself names in PRODUCER the user that it was published again for. Returns None for
        a message without a user that came through no exchange which proves its sender.
        """
        if origin.user is None:
            return self._sender_by_key(origin, topology)
        named = origin.headers.get(PRODUCER)
        return named if origin.user in self.users_of(self.service) and isinstance(named, str) else origin.user

    def require_producer(self, event_type: EventType, origin: Origin, topology: Topology) -> None:
        """Raises ForgedEvent unless the event's producer sent the message, or this user is shared.

        A retry of the release before, which names no sender, can only come from this service's own waiting queues.
        """
        if not self.is_own:
            return
        sender = self.sender_of(origin, topology)
        if sender is None and origin.exchange == retry_exchange(self.service):
            return
        if sender not in self.users_of(event_type.producer):
            raise ForgedEvent(
                f"{event_type.name} was sent by {sender or 'an unknown user'}, but only {event_type.producer} may send"
                " it: find out what runs in the sender's pods, and do not move this event back"
            )

    def _sender_by_key(self, origin: Origin, topology: Topology) -> str | None:
        """Returns the producer of the routing key of a message of the release before, which names no user.

        The broker lets a service publish with the keys of its own event types only (topic permissions).
        """
        keyed = topology.events.get(origin.routing_key) if origin.exchange == topology.exchange else None
        return min(self.users_of(keyed.producer), key=len) if keyed else None
