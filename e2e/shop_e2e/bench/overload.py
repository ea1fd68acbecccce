"""Overloads a target: journeys begin at a constant rate, however many of those before have not ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from shop_e2e.bench.http_client import CONNECTION_ERRORS, Connection, Reply, Sender
from shop_e2e.bench.samples import OverloadOutcome
from shop_e2e.bench.targets.target import Buyer, Refused

Journey = Callable[[Sender, Buyer, int], Awaitable[None]]


class _TimedConnection(Connection):
    """A connection that knows when its last request was sent."""

    sent_at = 0.0

    async def send(self, request: bytes) -> Reply:
        self.sent_at = time.monotonic()
        return await super().send(request)


async def overload(port: int, buyers: Sequence[Buyer], rate: float, journey: Journey) -> OverloadOutcome:
    """Lets one buyer after the other begin a journey, so many a second. One that is refused is not tried again."""
    outcome, began = OverloadOutcome(), time.monotonic()

    async def arrive(number: int, buyer: Buyer) -> None:
        await asyncio.sleep(began + number / rate - time.monotonic())
        connection, since = _TimedConnection(port), time.monotonic()
        try:
            await journey(connection, buyer, number)
            outcome.served.append((time.monotonic() - since) * 1000)
        except Refused as refused:
            if refused.is_temporary:
                outcome.refusals.append((time.monotonic() - connection.sent_at) * 1000)
                outcome.refusals_with_time += refused.reply.header("Retry-After") is not None
            else:
                outcome.failures.append(str(refused))
        except CONNECTION_ERRORS as error:
            outcome.failures.append(f"{type(error).__name__} {error}")
        finally:
            await connection.close()

    await asyncio.gather(*(arrive(number, buyer) for number, buyer in enumerate(buyers)))
    outcome.seconds = time.monotonic() - began
    return outcome
