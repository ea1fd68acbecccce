"""What callers of the notification API may rely on."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from chassis.http.authentication import Role
from chassis_testing.ids import UNKNOWN_ID
from notification_harness import (
    ADMIN,
    Notifications,
    address_of,
    low,
    placed,
    registered,
    reset,
    shipped,
)

DEFAULTS = {
    "order_updates": {"email": True, "sms": False},
    "stock_alerts": {"email": True},
    "security": {"email": True},
}


async def test_one_sees_what_was_sent_to_one_newest_first_without_its_words(
    notifications: Notifications, user: int
) -> None:
    order = placed(user)
    await notifications.world.tell(reset(user))
    await notifications.world.tell(order)
    await notifications.world.settled(user, "sent", count=2)

    newest, oldest = await notifications.of(user)

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


async def test_lists_are_paged(notifications: Notifications, user: int) -> None:
    await notifications.world.tell(*(placed(user) for _ in range(3)))
    headers = notifications.bearer(user)

    first = (await notifications.http.get("/api/v1/notifications?limit=2", headers=headers)).json()
    second = (await notifications.http.get("/api/v1/notifications?limit=2&page=2", headers=headers)).json()

    assert (len(first["data"]), first["page"], first["limit"], first["total"]) == (2, 1, 2, 3)
    assert len({each["id"] for each in first["data"] + second["data"]}) == 3


async def test_nobody_reads_what_was_sent_to_others_but_an_admin(notifications: Notifications, user: int) -> None:
    await notifications.world.tell(placed(user))
    path = f"/api/v1/notifications?user_id={user}"

    assert (await notifications.http.get(path)).status_code == 401
    for role in (Role.CUSTOMER, Role.SELLER):
        refused = await notifications.http.get(path, headers=notifications.bearer(user + 90_000, role))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await notifications.http.get(path, headers=notifications.admin)).json()["total"] == 1
    assert (await notifications.http.get(path, headers=notifications.bearer(user))).json()["total"] == 1
    assert await notifications.of(user + 90_000) == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/notifications/dead"), ("POST", f"/api/v1/notifications/{UNKNOWN_ID}/retry")]
)
async def test_dead_letters_are_for_admins(notifications: Notifications, user: int, method: str, path: str) -> None:
    assert (await notifications.http.request(method, path)).status_code == 401
    for role in (Role.CUSTOMER, Role.SELLER):
        answer = await notifications.http.request(method, path, headers=notifications.bearer(user, role))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_only_what_failed_can_be_retried(notifications: Notifications, user: int) -> None:
    await notifications.world.tell(placed(user))
    (row,) = await notifications.world.settled(user, "sent")

    async def retry(notification_id: object) -> tuple[int, str]:
        path = f"/api/v1/notifications/{notification_id}/retry"
        answer = await notifications.http.post(path, headers=notifications.admin)
        return answer.status_code, answer.json()["code"]

    assert await retry(row["id"]) == (409, "not_failed")
    assert await retry(uuid4()) == (404, "unknown_notification")
    assert await retry("x") == (422, "invalid_field")
    assert len(notifications.world.mailbox.to(user)) == 1


async def preferences(notifications: Notifications, user: int) -> dict[str, Any]:
    answer = await notifications.http.get("/api/v1/notifications/preferences", headers=notifications.bearer(user))
    chosen: dict[str, Any] = answer.json()["data"]
    return chosen


async def put(notifications: Notifications, user: int, body: object) -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, str) else json.dumps(body)
    headers = notifications.bearer(user) | {"Content-Type": "application/json"}
    answer = await notifications.http.put("/api/v1/notifications/preferences", content=content, headers=headers)
    return answer.status_code, answer.json()


async def test_preferences_are_ones_own_and_what_one_put(notifications: Notifications, user: int) -> None:
    assert await preferences(notifications, user) == DEFAULTS
    chosen = {**DEFAULTS, "order_updates": {"email": False, "sms": True}}

    assert await put(notifications, user, chosen) == (200, {"data": chosen})
    assert await preferences(notifications, user) == chosen
    assert await put(notifications, user, DEFAULTS) == (200, {"data": DEFAULTS})
    assert await preferences(notifications, user + 90_000) == DEFAULTS
    for method in ("GET", "PUT"):
        anonymous = await notifications.http.request(method, "/api/v1/notifications/preferences", json=DEFAULTS)
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
async def test_a_bad_choice_is_refused_and_names_the_field(
    notifications: Notifications, user: int, body: object, status: int, field: str | None
) -> None:
    answered, document = await put(notifications, user, body)

    assert answered == status
    if field is not None:
        assert field in {error["field"] for error in document["errors"]}
    assert await preferences(notifications, user) == DEFAULTS


async def test_what_is_switched_off_is_not_sent_but_what_protects_the_account_is(
    notifications: Notifications, user: int
) -> None:
    await notifications.prefer(user, email=False, stock=False)

    await notifications.world.tell(placed(user), shipped(user), low(user), registered(user), reset(user))

    rows = await notifications.world.settled(user, "sent", count=2)
    assert {row["template"] for row in rows} == {"welcome", "password_reset"}


async def test_what_is_switched_off_before_it_goes_out_does_not_go_out(notifications: Notifications, user: int) -> None:
    world = notifications.world
    world.users.is_away = True
    await world.tell(placed(user))
    await notifications.prefer(user, email=False)
    world.users.is_away = False

    (row,) = await world.settled(user, "cancelled")

    assert row["reason"] == "switched_off"
    assert world.mailbox.to(user) == []


@pytest.mark.parametrize(
    "query",
    ["user_id=0", "user_id=x", f"user_id={2**63}", "page=0", "limit=101", "page=10001", "limit=-1", "user_id=1%00"],
)
async def test_bad_queries_are_refused(notifications: Notifications, query: str) -> None:
    answer = await notifications.http.get(f"/api/v1/notifications?{query}", headers=notifications.admin)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_an_answer_about_a_retried_one_is_what_the_list_shows(notifications: Notifications, user: int) -> None:
    world = notifications.world
    world.mailbox.at_rcpt[address_of(user)].append("550 no")
    await world.tell(placed(user))
    (row,) = await world.settled(user, "failed")

    path = f"/api/v1/notifications/{row['id']}/retry"
    answer = await notifications.http.post(path, headers=notifications.bearer(ADMIN, Role.ADMIN))

    assert answer.status_code == 200
    assert UUID(answer.json()["data"]["id"]) == row["id"]
    assert answer.json()["data"].keys() == (await notifications.of(user))[0].keys()


async def test_probes_and_documentation_answer(notifications: Notifications) -> None:
    for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
        assert (await notifications.http.get(path)).status_code == 200, path
