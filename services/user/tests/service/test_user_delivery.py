"""Publication of events: with the change that caused them, or not at all."""

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
from user_harness import PASSWORD, Users, new_email, problem_code, settings_for
from user_service.app import build
from user_service.settings import Settings


@pytest.fixture
async def broker_settings() -> AsyncIterator[Settings]:
    """The settings of a service with a broker."""
    async with migrated_database("user_service") as database, new_vhost() as broker:
        yield settings_for(database, rabbitmq_url=broker)


async def test_registrations_and_erasures_are_published(broker_settings: Settings) -> None:
    async with (
        recorded_events(broker_settings.rabbitmq_url, "notification") as next_event,
        run_service(await build(broker_settings)) as running,
    ):
        answer = await running.http.post(
            "/api/v1/auth/register", json={"email": new_email(), "password": PASSWORD, "display_name": "Ada"}
        )
        tokens = answer.json()["data"]
        registered = await next_event()
        assert isinstance(registered.payload, UserRegistered)
        assert (registered.subject, registered.payload.user_id) == (str(tokens["user"]["id"]), tokens["user"]["id"])

        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (
            await running.http.request(
                "DELETE", "/api/v1/users/me", json={"current_password": PASSWORD}, headers=bearer
            )
        ).status_code == 204
        erased = await next_event()
        assert isinstance(erased.payload, UserErased)
        assert erased.payload.user_id == tokens["user"]["id"]


async def test_events_that_a_stopped_process_left_are_published_by_the_next(broker_settings: Settings) -> None:
    first = await build(broker_settings)
    async with http_client(first.http) as http:
        await http.post("/api/v1/auth/register", json={"email": new_email(), "password": PASSWORD})
    for close in first.closers:
        await close()
    async with (
        recorded_events(broker_settings.rabbitmq_url, "notification") as next_event,
        run_service(await build(broker_settings)),
    ):
        assert isinstance((await next_event()).payload, UserRegistered)

        async def is_outbox_empty() -> bool:
            async with connect_to(broker_settings) as sql:
                return int(await sql.fetchval("SELECT count(*) FROM outbox")) == 0

        await eventually(is_outbox_empty)


async def test_no_account_is_registered_unless_its_event_is_recorded(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object) -> None:
        raise DatabaseUnavailable("down")

    body = {"email": new_email(), "password": PASSWORD}
    with monkeypatch.context() as broken:
        broken.setattr(Outbox, "record", fail)
        assert problem_code(await users.http.post("/api/v1/auth/register", json=body), 503) == "database_unavailable"
    async with users.sql() as sql:
        assert await sql.fetchval("SELECT count(*) FROM users WHERE email = $1", body["email"]) == 0
    assert (await users.http.post("/api/v1/auth/register", json=body)).status_code == 201


async def test_a_registration_with_a_taken_address_records_no_event(users: Users) -> None:
    ada = await users.register()
    body = {"email": ada.email, "password": PASSWORD}
    assert problem_code(await users.http.post("/api/v1/auth/register", json=body), 409) == "email_taken"
    assert len(await users.events_about(ada.id)) == 1
    assert ada.email not in json.dumps([str(event) for event in await users.events_about(ada.id)])
