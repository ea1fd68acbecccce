"""What is told to other services: with what caused it, or not at all."""

import json
from collections.abc import AsyncIterator

import pytest
from chassis.errors import DatabaseUnavailable
from chassis.messaging.outbox import Outbox
from chassis_testing.broker import new_vhost, recorded_events
from chassis_testing.databases import connect_to, migrated_database
from chassis_testing.services import http_client, run_service
from chassis_testing.waiting import eventually
from shopapi.events.v1.events_pb2 import UserErased, UserRegistered
from user_harness import PASSWORD, Users, fresh_email, problem, settings_for
from user_service.app import Settings, build


@pytest.fixture
async def relaying() -> AsyncIterator[Settings]:
    """The settings of a service whose broker is there."""
    async with migrated_database("user_service") as database, new_vhost() as broker:
        yield settings_for(database, rabbitmq_url=broker)


async def test_registrations_and_erasures_reach_whoever_is_told_of_them(relaying: Settings) -> None:
    async with (
        recorded_events(relaying.rabbitmq_url, "notification") as next_event,
        run_service(await build(relaying)) as running,
    ):
        answer = await running.http.post(
            "/api/v1/auth/register", json={"email": fresh_email(), "password": PASSWORD, "display_name": "Ada"}
        )
        tokens = answer.json()["data"]
        registered = await next_event()
        assert isinstance(registered.payload, UserRegistered)
        assert (registered.subject, registered.payload.user_id) == (str(tokens["user"]["id"]), tokens["user"]["id"])

        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await running.http.delete("/api/v1/users/me", headers=bearer)).status_code == 204
        erased = await next_event()
        assert isinstance(erased.payload, UserErased)
        assert erased.payload.user_id == tokens["user"]["id"]


async def test_what_a_stopped_process_left_is_told_by_the_next(relaying: Settings) -> None:
    first = await build(relaying)
    async with http_client(first.http) as http:
        await http.post("/api/v1/auth/register", json={"email": fresh_email(), "password": PASSWORD})
    for close in first.closers:
        await close()
    async with (
        recorded_events(relaying.rabbitmq_url, "notification") as next_event,
        run_service(await build(relaying)),
    ):
        assert isinstance((await next_event()).payload, UserRegistered)

        async def is_off_the_books() -> bool:
            async with connect_to(relaying) as sql:
                return int(await sql.fetchval("SELECT count(*) FROM outbox")) == 0

        await eventually(is_off_the_books)


async def test_nobody_is_registered_unless_the_others_are_told(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> None:
        raise DatabaseUnavailable("away")

    body = {"email": fresh_email(), "password": PASSWORD}
    with monkeypatch.context() as broken:
        broken.setattr(Outbox, "record", fail)
        assert problem(await users.http.post("/api/v1/auth/register", json=body), 503) == "database_unavailable"
    async with users.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM users WHERE email = $1", body["email"]) == 0
    assert (await users.http.post("/api/v1/auth/register", json=body)).status_code == 201


async def test_a_taken_address_tells_nobody_anything(users: Users) -> None:
    ada = await users.register()
    body = {"email": ada.email, "password": PASSWORD}
    assert problem(await users.http.post("/api/v1/auth/register", json=body), 409) == "email_taken"
    assert len(await users.told(ada.id)) == 1
    assert ada.email not in json.dumps([str(event) for event in await users.told(ada.id)])
