"""Profiles of users, and who may change them."""

import json
from typing import Any

import pytest
from user_harness import Users, problem_code


async def test_a_new_account_is_active_in_english_and_not_yet_verified(users: Users) -> None:
    shown = (await users.register()).tokens["user"]
    assert (shown["locale"], shown["phone"], shown["is_active"], shown["email_verified"]) == ("en", None, True, False)
    assert (await users.register(locale="DE-at")).tokens["user"]["locale"] == "de-AT"


async def test_fields_left_out_of_a_profile_are_not_changed(users: Users) -> None:
    ada = await users.register(display_name="Ada")

    async def put(**profile: str | None) -> dict[str, Any]:
        answer = await users.http.put("/api/v1/users/me", json=profile, headers=ada.bearer)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()["data"]
        return {field: shown[field] for field in ("display_name", "locale", "phone")}

    assert await put(locale="PT-br", phone="+4915112345678") == {
        "display_name": "Ada",
        "locale": "pt-BR",
        "phone": "+4915112345678",
    }
    assert await put(display_name="Countess") == {
        "display_name": "Countess",
        "locale": "pt-BR",
        "phone": "+4915112345678",
    }
    assert await put(phone=None, display_name=None) == {
        "display_name": f"User {ada.id}",
        "locale": "pt-BR",
        "phone": None,
    }
    assert await put() == {"display_name": f"User {ada.id}", "locale": "pt-BR", "phone": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("locale", "english"),
        ("locale", "e"),
        ("locale", "en_US"),
        ("locale", "en\n"),
        ("locale", "\uff45\uff4e"),
        ("locale", None),
        ("locale", 1),
        ("phone", "015112345678"),
        ("phone", "+0151123456"),
        ("phone", "+49 151 12345678"),
        ("phone", "+" + "9" * 16),
        ("phone", "+٤٩١٥١١٢٣٤٥٦٧٨"),
        ("phone", "+4915112345678\n"),
        ("phone", ""),
        ("display_name", "a\x00b"),
        ("display_name", "\ud800"),
        ("display_name", "x" * 101),
        ("role", "admin"),
        ("is_active", True),
        ("email", "other@example.com"),
        ("id", 1),
    ],
)
async def test_an_invalid_profile_field_is_refused_and_named(users: Users, field: str, value: object) -> None:
    ada = await users.register()
    headers = {**ada.bearer, "Content-Type": "application/json"}
    answer = await users.http.put("/api/v1/users/me", content=json.dumps({field: value}), headers=headers)
    assert problem_code(answer, 422) == "invalid_field"
    assert answer.json()["errors"][0]["field"] == field
    assert (await users.http.get("/api/v1/users/me", headers=ada.bearer)).json()["data"] == ada.tokens["user"]


async def test_a_user_cannot_change_their_own_role(users: Users) -> None:
    for role in ("customer", "seller"):
        eve = await users.register(role=role)
        for body in (
            {"role": "admin"},
            {"role": "seller"},
            {"is_active": True},
            {"display_name": "E", "role": "admin"},
        ):
            answer = await users.http.put(f"/api/v1/users/{eve.id}", json=body, headers=eve.bearer)
            assert problem_code(answer, 403) == "forbidden"
        assert (await users.http.get("/api/v1/users/me", headers=eve.bearer)).json()["data"] == eve.tokens["user"]


async def test_a_user_cannot_get_change_or_erase_another(users: Users) -> None:
    ada, eve = await users.register(), await users.register(role="seller")
    path = f"/api/v1/users/{ada.id}"
    for answer in (
        await users.http.get(path, headers=eve.bearer),
        await users.http.put(path, json={"display_name": "Eve was here"}, headers=eve.bearer),
        await users.http.put(path, json={"role": "seller"}, headers=eve.bearer),
        await users.http.delete(path, headers=eve.bearer),
    ):
        assert problem_code(answer, 404) == "unknown_user"
    assert (await users.http.get("/api/v1/users/me", headers=ada.bearer)).json()["data"] == ada.tokens["user"]


async def test_users_can_change_their_profile_by_their_id(users: Users) -> None:
    ada = await users.register()
    answer = await users.http.put(f"/api/v1/users/{ada.id}", json={"display_name": "Ada"}, headers=ada.bearer)
    assert answer.json()["data"] == ada.tokens["user"] | {"display_name": "Ada"}
    assert await users.is_logged_in(ada)
