"""Confirmations in Redis: the change count of each service, as the product service writes and the gateway reads them.

The product service reads the counts of all services whose data public answers show (chassis.database.change_counts). An
answer is still what its services would say if their counts have not changed since it was fetched (docs/adr/0068).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A change count that was read."""

    count: int
    at: int
    """Microseconds by the clock of Redis, from before the count was read: it has all changes committed until then."""

    def encode(self) -> str:
        return f"{self.count} {self.at}"

    @classmethod
    def decode(cls, text: bytes | str) -> "Confirmation":
        """Raises ValueError if `encode` does not return such a text."""
        count, at = text.split()
        return cls(int(count), int(at))


def confirmation_key(tenant: str, service: str) -> str:
    """Returns the key of a service's confirmation. `tenant` separates shops that share a Redis."""
    return f"{tenant}:change-count:{service}"


def demand_key(tenant: str) -> str:
    """Returns the key that exists while a gateway keeps answers that confirmations can be of use for."""
    return f"{tenant}:change-count-demand"
