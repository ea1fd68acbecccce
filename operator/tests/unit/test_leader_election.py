import copy
from typing import Any

import pytest

from platform_operator.api.kinds import Kind
from platform_operator.client import WRITE_TIMEOUT
from platform_operator.errors import ApiError, LeadershipLostError
from platform_operator.leader_election import (
    LEASE_DURATION,
    RENEW_INTERVAL,
    RETRY_PAUSE,
    WRITE_WINDOW,
    LeaderElector,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeApiServer:
    """An API server with one Lease and optimistic locking."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.down = self.loses_answers = False

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
        if self.loses_answers:
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
def server() -> FakeApiServer:
    return FakeApiServer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidate(server: FakeApiServer, clock: Clock, name: str) -> LeaderElector:
    return LeaderElector(server, "system", name, clock)


def test_an_allowed_write_ends_before_the_lease_can_pass_on() -> None:
    assert WRITE_WINDOW + WRITE_TIMEOUT < LEASE_DURATION


def test_one_renewal_that_times_out_does_not_end_leadership() -> None:
    assert RENEW_INTERVAL + WRITE_TIMEOUT + RETRY_PAUSE < WRITE_WINDOW


def test_no_process_writes_before_it_leads(server: FakeApiServer, clock: Clock) -> None:
    with pytest.raises(LeadershipLostError):
        candidate(server, clock, "a").require_leadership()


async def test_one_of_two_leads(server: FakeApiServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    assert (await first._try_acquire(), await second._try_acquire()) == (True, False)
    first.require_leadership()
    with pytest.raises(LeadershipLostError):
        second.require_leadership()


async def test_a_leader_that_does_not_renew_is_replaced_after_the_lease_duration_and_not_before(
    server: FakeApiServer, clock: Clock
) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._try_acquire()
    assert not await second._try_acquire()
    clock.now += LEASE_DURATION - 0.1
    assert not await second._try_acquire()
    clock.now += 0.1
    assert await second._try_acquire()


async def test_a_renewed_lease_is_not_taken(server: FakeApiServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._try_acquire()
    for _ in range(10):
        assert not await second._try_acquire()
        clock.now += RENEW_INTERVAL
        assert await first._renew()


async def test_a_replaced_leader_cannot_write_even_before_it_reads_the_lease(
    server: FakeApiServer, clock: Clock
) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._try_acquire()
    await second._try_acquire()
    clock.now += LEASE_DURATION
    await second._try_acquire()
    with pytest.raises(LeadershipLostError, match="not renewed in time"):
        first.require_leadership()
    with pytest.raises(LeadershipLostError, match="another process wrote the Lease"):
        await first._renew()


async def test_the_write_window_begins_at_the_start_of_the_renewal(server: FakeApiServer, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    answer = server.create

    async def slow(*arguments: Any) -> dict[str, Any]:
        clock.now += 3.0
        return await answer(*arguments)

    server.create = slow  # type: ignore[method-assign, assignment]
    await leader._try_acquire()
    clock.now += WRITE_WINDOW - 3.0
    with pytest.raises(LeadershipLostError):
        leader.require_leadership()


async def test_a_leader_survives_an_outage_shorter_than_the_write_window(server: FakeApiServer, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    await leader._try_acquire()
    server.down = True
    clock.now += WRITE_WINDOW - 1
    assert not await leader._renew()
    leader.require_leadership()
    server.down = False
    assert await leader._renew()


async def test_a_renewal_with_a_lost_answer_does_not_end_leadership(server: FakeApiServer, clock: Clock) -> None:
    leader = candidate(server, clock, "a")
    await leader._try_acquire()
    clock.now += WRITE_WINDOW - 1
    server.loses_answers = True
    assert not await leader._renew()
    server.loses_answers = False
    assert not await leader._renew(), "reading its own renewal does not renew the Lease"
    clock.now += 1
    with pytest.raises(LeadershipLostError):
        leader.require_leadership()
    assert await leader._renew()
    leader.require_leadership()


async def test_a_label_that_another_gives_the_lease_does_not_end_leadership(
    server: FakeApiServer, clock: Clock
) -> None:
    leader = candidate(server, clock, "a")
    await leader._try_acquire()
    assert await leader._renew()
    assert server.stored
    server.stored["metadata"] |= {"labels": {"team": "a"}, "resourceVersion": "9"}
    assert not await leader._renew(), "reading its own renewal does not renew the Lease"
    assert await leader._renew()
    assert server.stored["metadata"]["labels"] == {"team": "a"}
    leader.require_leadership()


async def test_a_leader_that_sees_another_lease_writes_nothing_from_then_on(
    server: FakeApiServer, clock: Clock
) -> None:
    """The work may learn of it later: renewals are another thread's."""
    leader, thief = candidate(server, clock, "a"), candidate(server, clock, "b")
    await leader._try_acquire()
    assert await leader._renew()
    server.stored = None  # deleted by hand
    await thief._try_acquire()
    with pytest.raises(LeadershipLostError):
        await leader._renew()
    with pytest.raises(LeadershipLostError):
        leader.require_leadership()


async def test_a_second_process_of_the_same_name_ends_leadership(server: FakeApiServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "a")
    await first._try_acquire()
    await second._try_acquire()
    for _ in range(2):
        with pytest.raises(LeadershipLostError, match="another process wrote the Lease"):
            await first._renew()


async def test_after_a_conflict_the_lease_is_read_until_it_is_answered(server: FakeApiServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._try_acquire()
    clock.now += LEASE_DURATION
    await second._try_acquire()
    clock.now += LEASE_DURATION
    await second._try_acquire()
    answer, server.get = server.get, unreachable  # type: ignore[method-assign, assignment]
    assert not await first._renew()
    server.get = answer  # type: ignore[method-assign]
    with pytest.raises(LeadershipLostError):
        await first._renew()


async def unreachable(*_: Any) -> Any:
    raise ApiError(0, "Unreachable", "down")


async def test_a_released_lease_is_taken_at_once(server: FakeApiServer, clock: Clock) -> None:
    first, second = candidate(server, clock, "a"), candidate(server, clock, "b")
    await first._try_acquire()
    await first.release()
    with pytest.raises(LeadershipLostError):
        first.require_leadership()
    assert await second._try_acquire()
    assert server.stored
    assert server.stored["spec"]["leaseTransitions"] == 2
