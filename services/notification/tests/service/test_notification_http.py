"""The HTTP API of the notification service."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from chassis.http.authentication import Role
from chassis.types.ids import UserId, uuid7
from chassis_testing.ids import UNKNOWN_ID
from chassis_testing.query_plans import assert_page_reads_its_own_rows
from notification_harness import (
    ADMIN,
    RunningService,
    address_of,
    order_placed,
    order_shipped,
    reset_requested,
    stock_low,
    user_registered,
)
from notification_service.domain.notifications import NotificationPosition, NotificationQuery, Status
from notification_service.repository.notifications import NotificationRepository
from sqlalchemy.ext.asyncio import AsyncConnection

DEFAULTS = {
    "order_updates": {"email": True, "sms": False},
    "stock_alerts": {"email": True},
    "security": {"email": True},
}


async def test_a_user_lists_their_notifications_newest_first_without_their_text(
    service: RunningService, user: int
) -> None:
    order = order_placed(user)
    await service.env.publish(reset_requested(user))
    await service.env.publish(order)
    await service.env.wait_for_status(user, "sent", count=2)

    newest, oldest = await service.notifications_of(user)

    assert [newest["template"], oldest["template"]] == ["order_placed", "password_reset"]
    assert newest["order_id"] == order.order_id
    assert (newest["channel"], newest["status"], newest["reason"], newest["kind"]) == (
        "email",
        "sent",
        None,
        "order_updates",
    )
    (attempt,) = newest["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["error"]) == (1, "accepted", None)
    assert newest["created_at"] <= attempt["at"] <= newest["sent_at"]
    assert address_of(user) not in json.dumps([newest, oldest])


async def test_lists_are_paged(service: RunningService, user: int) -> None:
    await service.env.publish(*(order_placed(user) for _ in range(3)))
    headers = service.bearer(user)

    first = (await service.http.get("/api/v1/notifications?limit=2", headers=headers)).json()
    second = (await service.http.get("/api/v1/notifications?limit=2&page=2", headers=headers)).json()

    assert (len(first["data"]), first["page"], first["limit"], first["total"]) == (2, 1, 2, 3)
    assert len({each["id"] for each in first["data"] + second["data"]}) == 3


async def test_a_list_is_followed_to_its_end_by_cursor(service: RunningService, user: int) -> None:
    await service.env.publish(*(order_placed(user) for _ in range(5)))
    await service.env.wait_for_status(user, "sent", count=5)
    listed = [each["id"] for each in await service.notifications_of(user)]
    seen: list[str] = []
    query: str | None = "limit=2"
    while query is not None:
        page = (await service.http.get(f"/api/v1/notifications?{query}", headers=service.bearer(user))).json()
        seen += [each["id"] for each in page["data"]]
        await service.env.publish(order_placed(user))  # moves pages by number, and no page by cursor
        await service.env.wait_for_status(user, "sent", count=5 + page["page"])
        assert page["total"] == 5
        query = page["next"] and f"limit=2&cursor={page['next']}"

    assert seen == listed


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (NotificationQuery(user_id=UserId(1)), "notifications_of_a_user"),
        (NotificationQuery(status=Status.FAILED), "notifications_dead"),
    ],
)
async def test_a_page_by_cursor_reads_its_own_rows_alone(
    service: RunningService, query: NotificationQuery, index: str
) -> None:
    async def read(transaction: AsyncConnection) -> None:
        await NotificationRepository(transaction).page(query, 0, 10, NotificationPosition(uuid7()))

    await assert_page_reads_its_own_rows(service.env.database, read, index)


async def test_only_an_admin_lists_the_notifications_of_another_user(service: RunningService, user: int) -> None:
    await service.env.publish(order_placed(user))
    path = f"/api/v1/notifications?user_id={user}"

    assert (await service.http.get(path)).status_code == 401
    for role in (Role.CUSTOMER, Role.SELLER):
        refused = await service.http.get(path, headers=service.bearer(user + 90_000, role))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await service.http.get(path, headers=service.admin)).json()["total"] == 1
    assert (await service.http.get(path, headers=service.bearer(user))).json()["total"] == 1
    assert await service.notifications_of(user + 90_000) == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/notifications/dead"), ("POST", f"/api/v1/notifications/{UNKNOWN_ID}/retry")]
)
async def test_only_an_admin_lists_and_retries_failed_notifications(
    service: RunningService, user: int, method: str, path: str
) -> None:
    assert (await service.http.request(method, path)).status_code == 401
    for role in (Role.CUSTOMER, Role.SELLER):
        response = await service.http.request(method, path, headers=service.bearer(user, role))
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_only_a_failed_notification_can_be_retried(service: RunningService, user: int) -> None:
    await service.env.publish(order_placed(user))
    (row,) = await service.env.wait_for_status(user, "sent")

    async def retry(notification_id: object) -> tuple[int, str]:
        path = f"/api/v1/notifications/{notification_id}/retry"
        response = await service.http.post(path, headers=service.admin)
        return response.status_code, response.json()["code"]

    assert await retry(row["id"]) == (409, "not_failed")
    assert await retry(uuid4()) == (404, "unknown_notification")
    assert await retry("x") == (422, "invalid_field")
    assert len(service.env.mailbox.to(user)) == 1


async def preferences(service: RunningService, user: int) -> dict[str, Any]:
    response = await service.http.get("/api/v1/notifications/preferences", headers=service.bearer(user))
    chosen: dict[str, Any] = response.json()["data"]
    return chosen


async def put(service: RunningService, user: int, body: object) -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, str) else json.dumps(body)
    headers = service.bearer(user) | {"Content-Type": "application/json"}
    response = await service.http.put("/api/v1/notifications/preferences", content=content, headers=headers)
    return response.status_code, response.json()


async def test_preferences_are_stored_per_user(service: RunningService, user: int) -> None:
    assert await preferences(service, user) == DEFAULTS
    chosen = {**DEFAULTS, "order_updates": {"email": False, "sms": True}}

    assert await put(service, user, chosen) == (200, {"data": chosen})
    assert await preferences(service, user) == chosen
    assert await put(service, user, DEFAULTS) == (200, {"data": DEFAULTS})
    assert await preferences(service, user + 90_000) == DEFAULTS
    for method in ("GET", "PUT"):
        anonymous = await service.http.request(method, "/api/v1/notifications/preferences", json=DEFAULTS)
        assert anonymous.status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({**DEFAULTS, "security": {"email": False}}, 422, "security.email"),
        ({**DEFAULTS, "security": {"sms": False}}, 422, "security.sms"),
        ({"order_updates": {"email": True, "sms": True}}, 422, "stock_alerts"),
        ({**DEFAULTS, "order_updates": {"email": "yes", "sms": True}}, 422, "order_updates.email"),
        ({**DEFAULTS, "order_updates": {"email": 1, "sms": True}}, 422, "order_updates.email"),
        ({**DEFAULTS, "order_updates": {"email": None, "sms": True}}, 422, "order_updates.email"),
        ({**DEFAULTS, "marketing": {"email": True}}, 422, "marketing"),
        ([], 422, "body"),
        ("null", 422, "body"),
        ("{", 400, None),
    ],
    ids=str,
)
async def test_invalid_preferences_are_refused_with_the_name_of_the_field(
    service: RunningService, user: int, body: object, status: int, field: str | None
) -> None:
    answered, document = await put(service, user, body)

    assert answered == status
    if field is not None:
        assert field in {error["field"] for error in document["errors"]}
    assert await preferences(service, user) == DEFAULTS


async def test_mails_are_not_sent_when_switched_off_except_those_that_protect_the_account(
    service: RunningService, user: int
) -> None:
    await service.set_preferences(user, email=False, stock=False)

    await service.env.publish(
        order_placed(user), order_shipped(user), stock_low(user), user_registered(user), reset_requested(user)
    )

    rows = await service.env.wait_for_status(user, "sent", count=2)
    assert {row["template"] for row in rows} == {"welcome", "password_reset"}


async def test_a_pending_mail_is_cancelled_when_its_kind_is_switched_off(service: RunningService, user: int) -> None:
    env = service.env
    env.users.is_unavailable = True
    await env.publish(order_placed(user))
    await service.set_preferences(user, email=False)
    env.users.is_unavailable = False

    (row,) = await env.wait_for_status(user, "cancelled")

    assert row["reason"] == "switched_off"
    assert env.mailbox.to(user) == []


@pytest.mark.parametrize(
    "query",
    ["user_id=0", "user_id=x", f"user_id={2**63}", "page=0", "limit=101", "page=10001", "limit=-1", "user_id=1%00"],
)
async def test_invalid_query_parameters_are_refused(service: RunningService, query: str) -> None:
    response = await service.http.get(f"/api/v1/notifications?{query}", headers=service.admin)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_a_retry_returns_the_notification_with_the_fields_of_the_list(service: RunningService, user: int) -> None:
    env = service.env
    env.mailbox.rcpt_replies[address_of(user)].append("550 no")
    await env.publish(order_placed(user))
    (row,) = await env.wait_for_status(user, "failed")

    path = f"/api/v1/notifications/{row['id']}/retry"
    response = await service.http.post(path, headers=service.bearer(ADMIN, Role.ADMIN))

    assert response.status_code == 200
    assert UUID(response.json()["data"]["id"]) == row["id"]
    assert response.json()["data"].keys() == (await service.notifications_of(user))[0].keys()


async def test_probes_and_documentation_answer(service: RunningService) -> None:
    for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
        assert (await service.http.get(path)).status_code == 200, path
