"""Access tokens end with their sessions: the gateway refuses them at once, on the routes of every service."""

from typing import Any

import pytest
from devtools.shop_client import Person, Shop
from ecommerce_client import ProblemError
from ecommerce_client.models.user import ChangePasswordRequest, UserRequest

_OWN_PAGES = ("/orders", "/addresses", "/payments", "/notifications", "/cart", "/users/me", "/products")


async def refusal(person: Person, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Returns status and code of a request that must be refused."""
    with pytest.raises(ProblemError) as refused:
        await person.call(method, path, body)
    return refused.value.status, refused.value.code


async def test_a_password_change_ends_the_tokens_of_other_sessions_at_once(shop: Shop) -> None:
    ada = await shop.register()
    other = await shop.log_in(ada.email, ada.password)
    for path in _OWN_PAGES:
        await other.call("GET", path)
    change = ChangePasswordRequest(current_password=ada.password, new_password="another fine password")
    await ada.api.user.change_password(change)
    refusals = [await refusal(other, "GET", path) for path in _OWN_PAGES]
    assert refusals == [(401, "session_ended")] * len(_OWN_PAGES)
    for path in _OWN_PAGES:
        await ada.call("GET", path)  # the session that changed the password stays


async def test_the_tokens_of_a_demoted_admin_end_at_once(shop: Shop, admin: Person) -> None:
    demoted = await shop.another_admin(admin)
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/orders?all=true", None),
        ("GET", "/notifications/dead", None),
        ("POST", "/categories", {"name": "Made by a demoted admin"}),
    ]
    await demoted.call("GET", "/orders?all=true")
    await admin.api.user.put_user(demoted.id, UserRequest(role="customer"))
    assert [await refusal(demoted, *request) for request in requests] == [(401, "session_ended")] * 3
    again = await shop.log_in(demoted.email, demoted.password)
    assert [await refusal(again, *request) for request in requests] == [(403, "forbidden")] * 3


async def test_a_deactivated_account_orders_nothing(shop: Shop, admin: Person) -> None:
    ada = await shop.register()
    _, product = await shop.stocked_product(admin, quantity=5)
    await admin.api.user.put_user(ada.id, UserRequest(is_active=False))
    body = {"items": [{"product_id": product, "quantity": 1}]}
    assert await refusal(ada, "POST", "/orders", body) == (401, "session_ended")
    assert (await shop.stock(product)).reserved == 0
