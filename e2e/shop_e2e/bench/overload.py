"""Overloads a target: buyers arrive at a constant rate, however many of those before are still waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from shop_e2e.bench.http_client import Connection, Reply, Sender
from shop_e2e.bench.targets.target import Buyer, Refused

_UNAVAILABLE = (429, 503)
_BROKEN = (OSError, TimeoutError, asyncio.IncompleteReadError)

Journey = Callable[[Sender, Buyer, int], Awaitable[None]]


class _TimedConnection(Connection):
    """A connection that knows when its last request was sent."""

    sent_at = 0.0

    async def send(self, request: bytes) -> Reply:
        self.sent_at = time.monotonic()
        return await super().send(request)


@dataclass(slots=True)
class Crowd:
    """What happened to all who arrived. Times are milliseconds."""

    seconds: float = 0.0
    """The time between the first arrival and the end of the last journey."""
    served: list[float] = field(default_factory=list)
    """How long each journey took that was not refused."""
    refusals: list[float] = field(default_factory=list)
    """How long each refused request took."""
    refusals_with_time: int = 0
    """The refusals that said when to return (`Retry-After`)."""
    failures: list[str] = field(default_factory=list)
    """What was neither an answer nor such a refusal."""


async def overload(port: int, buyers: Sequence[Buyer], rate: float, journey: Journey) -> Crowd:
    """Lets the buyers arrive one after the other at so many a second. A buyer who is refused does not return."""
    crowd, began = Crowd(), time.monotonic()

    async def arrive(number: int, buyer: Buyer) -> None:
        await asyncio.sleep(began + number / rate - time.monotonic())
        connection, since = _TimedConnection(port), time.monotonic()
        try:
            await journey(connection, buyer, number)
            crowd.served.append((time.monotonic() - since) * 1000)
        except Refused as refused:
            if refused.reply.status in _UNAVAILABLE:
                crowd.refusals.append((time.monotonic() - connection.sent_at) * 1000)
                crowd.refusals_with_time += refused.reply.header("Retry-After") is not None
            else:
                crowd.failures.append(str(refused))
        except _BROKEN as error:
            crowd.failures.append(f"{type(error).__name__} {error}")
        finally:
            await connection.close()

    await asyncio.gather(*(arrive(number, buyer) for number, buyer in enumerate(buyers)))
    crowd.seconds = time.monotonic() - began
    return crowd
