"""Admins list and search the payments of all buyers; everyone else lists their own."""

from datetime import UTC, datetime

import pytest
from chassis.http.authentication import Role
from chassis.http.cursors import TimePosition
from chassis.types.ids import uuid7
from chassis_testing.query_plans import assert_page_reads_its_own_rows
from payment_harness import ADMIN, DECLINED, Payments
from payment_service.domain.payments import PaymentQuery
from payment_service.repository.payments import PaymentRepository
from sqlalchemy.ext.asyncio import AsyncConnection


async def listed(payments: Payments, query: str, user: int = ADMIN, role: Role = Role.ADMIN) -> list[str]:
    response = await payments.get(f"/payments?limit=100&{query}", user, role)
    assert response.status_code == 200, response.text
    assert response.json()["total"] >= len(response.json()["data"])
    return [payment["id"] for payment in response.json()["data"]]


async def test_an_admin_finds_payments_by_buyer_order_status_and_provider_reference(payments: Payments) -> None:
    first, second = await payments.complete_payment(9001), await payments.begin_payment(9002)
    declined = (await payments.begin_payment(9001))["id"]
    await payments.confirm(9001, declined, DECLINED)
    async with payments.sql() as sql:
        reference = await sql.fetchval("SELECT intent_id FROM payments WHERE id = $1", second["id"])

    assert {first["id"], second["id"], declined} <= set(await listed(payments, "all=true"))
    assert await listed(payments, "buyer_id=9001") == [declined, first["id"]]
    assert await listed(payments, "buyer_id=9001&status=failed") == [declined]
    assert await listed(payments, f"all=true&order_id={first['order_id']}") == [first["id"]]
    assert await listed(payments, f"all=true&provider_ref={reference}") == [second["id"]]
    assert declined in await listed(payments, "all=true&status=failed")
    assert await listed(payments, "") == []  # without all or buyer_id: the admin's own


async def test_payments_are_selected_by_the_time_when_they_were_begun(payments: Payments) -> None:
    begun = await payments.begin_payment(9003)
    at = begun["created_at"].replace("+00:00", "Z")

    assert await listed(payments, f"buyer_id=9003&from={at}") == [begun["id"]]
    assert await listed(payments, f"buyer_id=9003&to={at}") == []
    assert await listed(payments, "buyer_id=9003&from=2000-01-01&to=2001-01-01") == []


async def test_pages_of_all_payments_do_not_overlap(payments: Payments) -> None:
    begun = [(await payments.begin_payment(9004))["id"] for _ in range(5)]
    pages = [
        await payments.get(f"/payments?buyer_id=9004&limit=2&page={page}", ADMIN, Role.ADMIN) for page in (1, 2, 3)
    ]

    assert [payment["id"] for page in pages for payment in page.json()["data"]] == begun[::-1]
    assert {page.json()["total"] for page in pages} == {5}


async def test_a_list_is_followed_to_its_end_by_cursor(payments: Payments) -> None:
    begun = [(await payments.begin_payment(9010))["id"] for _ in range(5)]
    async with payments.sql() as sql:
        await sql.execute("UPDATE payments SET created_at = '2020-01-01T00:00:00Z' WHERE buyer_id = 9010")
    seen: list[str] = []
    query: str | None = "buyer_id=9010&limit=2"
    while query is not None:
        page = (await payments.get(f"/payments?{query}", ADMIN, Role.ADMIN)).json()
        seen += [payment["id"] for payment in page["data"]]
        await payments.begin_payment(9010)  # moves pages by number, and no page by cursor
        assert page["total"] == 5
        query = page["next"] and f"buyer_id=9010&limit=2&cursor={page['next']}"

    assert seen == sorted(begun, reverse=True)  # begun at one time: the ids decide


async def test_a_page_by_cursor_reads_its_own_rows_alone(payments: Payments) -> None:
    after = TimePosition(datetime.now(UTC), uuid7())

    async def read(transaction: AsyncConnection) -> None:
        await PaymentRepository(transaction).page(PaymentQuery(), 0, 10, after)

    await assert_page_reads_its_own_rows(payments.database, read, "payments_by_time")


@pytest.mark.parametrize("query", ["all=true", "buyer_id=9001", "all=true&buyer_id=9006"])
@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.SELLER])
async def test_only_an_admin_lists_the_payments_of_others(payments: Payments, query: str, role: Role) -> None:
    response = await payments.get(f"/payments?{query}", 9006, role)

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_a_buyer_filters_their_own_payments(payments: Payments) -> None:
    paid, pending = await payments.complete_payment(9007), await payments.begin_payment(9007)
    await payments.complete_payment(9008)

    assert await listed(payments, "status=completed", 9007, Role.CUSTOMER) == [paid["id"]]
    assert await listed(payments, "buyer_id=9007", 9007, Role.CUSTOMER) == [pending["id"], paid["id"]]


@pytest.mark.parametrize("query", ["status=paid", "order_id=1", "buyer_id=0", "provider_ref=a%20b", "from=yesterday"])
async def test_a_malformed_filter_is_refused(payments: Payments, query: str) -> None:
    response = await payments.get(f"/payments?{query}", ADMIN, Role.ADMIN)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
