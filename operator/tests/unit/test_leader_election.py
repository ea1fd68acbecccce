import copy
from typing import Any

import pytest

from platform_operator.api.kinds import Kind
from platform_operator.client import WRITE_TIMEOUT
from platform_operator.errors import ApiError, DeposedError
from platform_operator.leader_election import DURATION, FRESH_FOR, RENEW_EVERY, Leader


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Server:
    """One Lease with the API server's optimistic locking."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.down = self.answers_get_lost = False

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        self._answer()
        return copy.deepcopy(self.stored)

    async def create(self, kind: Kind, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if self.stored:
            raise ApiError(409, "AlreadyExists", "exists")
        return self._store(manifest, 1)

    async def replace(self, kind: Kind, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        assert self.stored
        version = self.stored["metadata"]["resourceVersion"]
        if manifest["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "Conflict", "changed")
        stored = self._store(manifest, int(version) + 1)
        if self.answers_get_lost:
            raise ApiError(0, "Unreachable", "no answer")
        return stored

    def _store(self, manifest: dict[str, Any], version: int) -> dict[str, Any]:
        self.stored = copy.deepcopy(manifest)
        self.stored["metadata"] = {**manifest["metadata"], "resourceVersion": str(version)}
        return copy.deepcopy(self.stored)

    def _answer(self) -> None:
        if self.down:
            raise ApiError(0, "Unreachable", "down")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidate(server: Server, clock: Clock, name: str) -> Leader:
    return Leader(server, "system", name, clock)


def test_a_write_that_was_allowed_ends_before_the_lease_can_pass_on() -> None:
    assert FRESH_FOR + WRITE_TIMEOUT < DURATION
    assert RENEW_EVERY < FRESH_FOR


def test_nobody_writes_before_leading(server: Server, clock: Clock) -> None:
    with pytest.raises(DeposedError):
        candidate(server, clock, "a").may_write()


async def test_one_of_two_leads(server: Server, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    assert (await first._campaign(), await second._campaign()) == (True, False)
    first.may_write()
    with pytest.raises(DeposedError):
        second.may_write()


async def test_a_silent_leader_is_replaced_after_the_leases_duration_and_not_before(
    server: Server, clock: Clock
) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._campaign()
    assert not await second._campaign()
    clock.now += DURATION - 0.1
    assert not await second._campaign()
    clock.now += 0.1
    assert await second._campaign()


async def test_a_renewed_lease_is_not_taken(server: Server, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._campaign()
    for _ in range(10):
        assert not await second._campaign()
        clock.now += RENEW_EVERY
        assert await first._renew()


async def test_a_deposed_leader_cannot_write_even_before_it_hears_of_it(server: Server, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._campaign()
    await second._campaign()
    clock.now += DURATION
    await second._campaign()
    with pytest.raises(DeposedError, match="not renewed in time"):
        first.may_write()
    with pytest.raises(DeposedError, match="somebody else wrote the Lease"):
        await first._renew()


async def test_freshness_counts_from_the_start_of_the_renewal(server: Server, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    answer = server.create

    async def slow(*arguments: Any) -> dict[str, Any]:
        clock.now += 3.0
        return await answer(*arguments)

    server.create = slow  # type: ignore[method-assign, assignment]
    await leader._campaign()
    clock.now += FRESH_FOR - 3.0
    with pytest.raises(DeposedError):
        leader.may_write()


async def test_a_leader_survives_an_outage_shorter_than_its_freshness(server: Server, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    await leader._campaign()
    server.down = True
    clock.now += FRESH_FOR - 1
    assert not await leader._renew()
    leader.may_write()
    server.down = False
    assert await leader._renew()


async def test_a_renewal_whose_answer_was_lost_deposes_nobody(server: Server, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    await leader._campaign()
    clock.now += FRESH_FOR - 1
    server.answers_get_lost = True
    assert not await leader._renew()
    server.answers_get_lost = False
    assert not await leader._renew(), "reading one's own renewal is none"
    clock.now += 1
    with pytest.raises(DeposedError):
        leader.may_write()
    assert await leader._renew()
    leader.may_write()


async def test_a_process_of_the_same_name_deposes_all_the_same(server: Server, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "a")
    await first._campaign()
    await second._campaign()
    for _ in range(2):
        with pytest.raises(DeposedError, match="somebody else wrote the Lease"):
            await first._renew()


async def test_whether_a_conflict_is_ones_own_is_asked_until_it_is_answered(server: Server, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._campaign()
    clock.now += DURATION
    await second._campaign()
    clock.now += DURATION
    await second._campaign()
    answer, server.get = server.get, unreachable  # type: ignore[method-assign, assignment]
    assert not await first._renew()
    server.get = answer  # type: ignore[method-assign]
    with pytest.raises(DeposedError):
        await first._renew()


async def unreachable(*_: Any) -> Any:
    raise ApiError(0, "Unreachable", "down")


async def test_a_released_lease_is_taken_at_once(server: Server, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._campaign()
    await first.release()
    with pytest.raises(DeposedError):
        first.may_write()
    assert await second._campaign()
    assert server.stored
    assert server.stored["spec"]["leaseTransitions"] == 2
