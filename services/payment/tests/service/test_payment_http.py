"""Payments over HTTP, with the simulated provider, on a real PostgreSQL and RabbitMQ."""

import csv
import io
from typing import Any
from uuid import UUID

import pytest
from chassis.http.authentication import Role
from chassis.types.ids import uuid7
from chassis_testing.ids import UNKNOWN_ID
from payment_harness import ADMIN, DECLINED, REQUIRES_ACTION, VISA, Payments
from prometheus_client import REGISTRY
from shopapi.events.v1.events_pb2 import PaymentCompleted, PaymentRefunded


def usd(amount: int) -> dict[str, object]:
    return {"amount": amount, "currency": "USD"}


async def test_a_payment_has_the_amount_of_its_order(payments: Payments) -> None:
    order_id = payments.orders.place(11, 4990)

    response = await payments.post_payment(11, order_id)

    payment = response.json()["data"]
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/v1/payments/{payment['id']}"
    assert UUID(payment["id"]).version == 7
    assert payment["client_secret"].startswith("pi_sim_")
    assert payment == {
        "id": payment["id"],
        "order_id": order_id,
        "amount": usd(4990),
        "status": "pending",
        "provider": "simulated",
        "captured": usd(0),
        "refunded": usd(0),
        "failure": None,
        "client_secret": payment["client_secret"],
        "next_action": None,
        "created_at": payment["created_at"],
        "updated_at": payment["updated_at"],
    }
    shown = (await payments.get(f"/payments/{payment['id']}", 11)).json()["data"]
    assert shown | {"updated_at": ""} == payment | {"updated_at": ""}


@pytest.mark.parametrize("extra", [{"amount": 1}, {"currency": "EUR"}, {"total": usd(1)}, {"status": "completed"}])
async def test_a_client_supplied_amount_is_refused(payments: Payments, extra: dict[str, Any]) -> None:
    response = await payments.post_payment(11, payments.orders.place(11), **extra)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_a_confirmed_payment_is_completed_and_published(payments: Payments) -> None:
    payment = await payments.begin_payment(12, 700)

    response = await payments.confirm(12, payment["id"])

    assert response.status_code == 200
    completed = response.json()["data"]
    assert (completed["status"], completed["captured"], completed["client_secret"]) == ("completed", usd(700), None)
    (event,) = await payments.wait_for_events(payment["order_id"], PaymentCompleted)
    assert isinstance(event, PaymentCompleted)
    assert (event.payment_id, event.order_id, event.buyer_id) == (payment["id"], payment["order_id"], 12)
    assert (event.amount.amount, event.amount.currency) == (700, "USD")


async def test_one_request_begins_and_confirms_a_payment(payments: Payments) -> None:
    payment = await payments.begin_payment(12, payment_method=VISA, confirm=True)

    assert payment["status"] == "completed"


async def test_a_method_sent_with_the_payment_is_charged_on_confirmation(payments: Payments) -> None:
    payment = await payments.begin_payment(12, payment_method=VISA)

    assert (await payments.confirm(12, payment["id"], None)).json()["data"]["status"] == "completed"


async def test_a_declined_card_is_a_402_and_a_new_payment_may_follow(payments: Payments) -> None:
    order_id = payments.orders.place(13)
    payment = (await payments.post_payment(13, order_id)).json()["data"]

    for _ in range(2):
        response = await payments.confirm(13, payment["id"], DECLINED)
        assert (response.status_code, response.json()["code"]) == (402, "card_declined")
        assert (response.json()["payment_id"], response.json()["reason"]) == (payment["id"], "generic_decline")
        assert response.headers["content-type"] == "application/problem+json"
    failed = await payments.get_payment(payment["id"])
    assert (failed["status"], failed["captured"]) == ("failed", usd(0))
    assert failed["failure"] == {"code": "card_declined", "reason": "generic_decline"}

    second = await payments.post_payment(13, order_id, payment_method=VISA, confirm=True)
    assert second.json()["data"]["status"] == "completed"
    of_order = (await payments.get(f"/payments/order/{order_id}", 13)).json()["data"]
    assert of_order["id"] == second.json()["data"]["id"]
    await payments.wait_for_events(order_id, PaymentCompleted)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error"),
    ],
)
async def test_each_declined_test_card_has_its_reason(payments: Payments, card: str, reason: str) -> None:
    response = await payments.post_payment(13, payments.orders.place(13), payment_method=card, confirm=True)

    assert (response.status_code, response.json()["code"], response.json()["reason"]) == (402, "card_declined", reason)


async def test_a_card_that_requires_authentication_shows_the_next_action_and_then_pays(payments: Payments) -> None:
    payment = await payments.begin_payment(14, payment_method=REQUIRES_ACTION, confirm=True)

    assert (payment["status"], payment["next_action"]) == (
        "processing",
        {"type": "confirm_again", "redirect_url": None},
    )
    assert payment["client_secret"] is not None
    shown = (await payments.get(f"/payments/{payment['id']}", 14)).json()["data"]
    assert shown["next_action"] == payment["next_action"]
    assert (await payments.confirm(14, payment["id"], REQUIRES_ACTION)).json()["data"]["status"] == "processing"
    assert (await payments.confirm(14, payment["id"], None)).json()["data"]["status"] == "completed"


async def test_a_card_may_be_declined_after_authentication(payments: Payments) -> None:
    card = "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"
    payment = await payments.begin_payment(14, payment_method=card, confirm=True)

    response = await payments.confirm(14, payment["id"], None)

    assert (response.status_code, response.json()["reason"]) == (402, "insufficient_funds")
    assert (await payments.get_payment(payment["id"]))["status"] == "failed"


async def test_an_unknown_method_is_a_422_and_the_payment_fails(payments: Payments) -> None:
    payment = await payments.begin_payment(14)

    response = await payments.confirm(14, payment["id"], "pm_nonsense")

    assert (response.status_code, response.json()["code"]) == (422, "invalid_payment_method")
    assert (await payments.get_payment(payment["id"]))["failure"]["code"] == "invalid_payment_method"


async def test_a_payment_without_a_method_cannot_be_confirmed(payments: Payments) -> None:
    payment = await payments.begin_payment(14)

    response = await payments.confirm(14, payment["id"], None)

    assert (response.status_code, response.json()["code"]) == (422, "payment_method_required")
    assert (await payments.get_payment(payment["id"]))["status"] == "pending"


async def test_another_method_is_refused_while_a_confirmation_is_in_progress(payments: Payments) -> None:
    payment = await payments.begin_payment(14, payment_method=REQUIRES_ACTION, confirm=True)

    response = await payments.confirm(14, payment["id"], VISA)

    assert (response.status_code, response.json()["code"]) == (409, "payment_in_progress")
    assert (await payments.cancel(14, payment["id"])).status_code == 200


async def test_an_order_has_one_live_payment(payments: Payments) -> None:
    order_id = payments.orders.place(15)
    first = (await payments.post_payment(15, order_id)).json()["data"]

    response = await payments.post_payment(15, order_id)

    assert (response.status_code, response.json()["code"]) == (409, "payment_exists")
    assert response.json()["payment_id"] == first["id"]


async def test_a_paid_order_cannot_be_paid_again(payments: Payments) -> None:
    order_id = payments.orders.place(15)
    await payments.post_payment(15, order_id, payment_method=VISA, confirm=True)

    assert (await payments.post_payment(15, order_id)).json()["code"] == "payment_exists"
    payments.orders.close(order_id, "confirmed")
    response = await payments.post_payment(15, order_id)
    assert (response.status_code, response.json()["code"], response.json()["order_status"]) == (
        409,
        "order_not_payable",
        "confirmed",
    )


async def test_an_order_that_expired_after_the_payment_began_is_not_charged(payments: Payments) -> None:
    payment = await payments.begin_payment(15)
    payments.orders.close(payment["order_id"], "cancelled")

    response = await payments.confirm(15, payment["id"])

    assert (response.status_code, response.json()["code"]) == (409, "order_not_payable")
    assert await payments.count_charges(payment["id"]) == 0


async def test_a_cancelled_payment_has_failed_and_cannot_be_confirmed(payments: Payments) -> None:
    payment = await payments.begin_payment(16)

    for _ in range(2):
        response = await payments.cancel(16, payment["id"])
        assert (response.status_code, response.json()["data"]["status"]) == (200, "failed")
        assert response.json()["data"]["failure"] == {"code": "cancelled", "reason": None}
    response = await payments.confirm(16, payment["id"])
    assert (response.status_code, response.json()["code"]) == (409, "not_confirmable")


async def test_a_completed_payment_cannot_be_cancelled(payments: Payments) -> None:
    payment = await payments.complete_payment(16)

    response = await payments.cancel(16, payment["id"])

    assert (response.status_code, response.json()["code"]) == (409, "not_cancellable")


async def test_another_users_payment_is_reported_as_unknown(payments: Payments) -> None:
    payment = await payments.begin_payment(17)

    for payment_id in (payment["id"], str(uuid7())):
        for role in (Role.CUSTOMER, Role.SELLER):
            responses = [
                await payments.get(f"/payments/{payment_id}", 18, role),
                await payments.get(f"/payments/{payment_id}/refunds", 18, role),
                await payments.confirm(18, payment_id),
                await payments.cancel(18, payment_id, role),
            ]
            assert [(a.status_code, a.json()["code"]) for a in responses] == [(404, "unknown_payment")] * 4
            assert {a.json()["detail"] for a in responses} == {f"you have no payment {payment_id}"}
    response = await payments.get(f"/payments/order/{payment['order_id']}", 18)
    assert (response.status_code, response.json()["code"]) == (404, "unknown_payment")
    assert (await payments.get_payment(payment["id"]))["status"] == "pending"


@pytest.mark.parametrize("user", [19, ADMIN])
async def test_another_users_order_cannot_be_paid(payments: Payments, user: int) -> None:
    order_id = payments.orders.place(17)

    for unknown in (order_id, str(uuid7())):
        response = await payments.post("/payments", user, {"order_id": unknown}, role=Role.ADMIN)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_order")
    assert (await payments.get(f"/payments/order/{order_id}", 17)).status_code == 404


async def test_an_admin_sees_every_payment_but_no_secret_of_its_buyer(payments: Payments) -> None:
    payment = await payments.begin_payment(17)

    shown = await payments.get_payment(payment["id"])

    assert (shown["id"], shown["client_secret"]) == (payment["id"], None)
    assert (await payments.confirm(ADMIN, payment["id"])).status_code == 404
    assert (await payments.cancel(ADMIN, payment["id"], Role.ADMIN)).json()["data"]["status"] == "failed"


async def test_the_callers_payments_are_read_as_csv(payments: Payments) -> None:
    payment = await payments.complete_payment(26, 500)

    response = await payments.http.get("/api/v1/payments", headers=payments.bearer(26) | {"Accept": "text/csv"})

    (row,) = csv.DictReader(io.StringIO(response.text, newline=""))
    assert (row["id"], row["captured.amount"], row["captured.currency"]) == (payment["id"], "500", "USD")


async def test_the_callers_payments_are_listed_newest_first(payments: Payments) -> None:
    begun = [(await payments.begin_payment(20))["id"] for _ in range(3)]

    response = (await payments.get("/payments?limit=2", 20)).json()

    assert [payment["id"] for payment in response["data"]] == [begun[2], begun[1]]
    assert (response["page"], response["limit"], response["total"]) == (1, 2, 3)
    assert all(payment["client_secret"] is None for payment in response["data"])


async def test_an_unavailable_order_service_is_a_503(payments: Payments) -> None:
    order_id = payments.orders.place(21)
    payments.orders.is_unavailable = True

    response = await payments.post_payment(21, order_id)

    assert (response.status_code, response.json()["code"]) == (503, "neighbour_unavailable")


async def test_a_payment_is_refunded_in_parts_and_in_full(payments: Payments) -> None:
    payment = await payments.complete_payment(22, 1000)

    part = await payments.refund(payment["id"], amount=300, reason="scratched")
    assert part.status_code == 201
    assert (part.json()["data"]["status"], part.json()["data"]["amount"]) == ("succeeded", usd(300))
    partly = await payments.get_payment(payment["id"])
    assert (partly["status"], partly["refunded"]) == ("partially_refunded", usd(300))
    assert (await payments.refund(payment["id"])).json()["data"]["amount"] == usd(700)
    fully = await payments.get_payment(payment["id"])
    assert (fully["status"], fully["refunded"], fully["captured"]) == ("refunded", usd(1000), usd(1000))
    events = await payments.wait_for_events(payment["order_id"], PaymentCompleted, PaymentRefunded, PaymentRefunded)
    refunded = [(e.amount.amount, e.refunded_total.amount) for e in events if isinstance(e, PaymentRefunded)]
    assert refunded == [(300, 300), (700, 1000)]
    listed = await payments.list_refunds(payment["id"])
    assert [(refund["amount"]["amount"], refund["reason"]) for refund in listed] == [(700, None), (300, "scratched")]


@pytest.mark.parametrize("amount", [1001, 2**53 - 1])
async def test_no_refund_exceeds_what_was_captured(payments: Payments, amount: int) -> None:
    payment = await payments.complete_payment(22, 1000)

    response = await payments.refund(payment["id"], amount=amount)

    assert (response.status_code, response.json()["code"]) == (409, "refund_exceeds_captured")
    assert response.json()["refundable"] == 1000
    await payments.refund(payment["id"])
    assert (await payments.refund(payment["id"])).json()["code"] == "refund_exceeds_captured"


async def test_a_payment_that_was_not_captured_cannot_be_refunded(payments: Payments) -> None:
    payment = await payments.begin_payment(22)

    response = await payments.refund(payment["id"], amount=1)

    assert (response.status_code, response.json()["code"]) == (409, "not_refundable")


async def test_only_an_admin_refunds(payments: Payments) -> None:
    payment = await payments.complete_payment(22)

    for user, role in ((22, Role.CUSTOMER), (22, Role.SELLER)):
        response = await payments.post(f"/payments/{payment['id']}/refund", user, {}, role=role)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert (await payments.refund(str(uuid7()))).json()["code"] == "unknown_payment"


async def test_a_pending_refund_is_finished_by_the_sweeper(payments: Payments) -> None:
    payment = await payments.complete_payment(22, 1000, "pm_card_pendingRefund")

    response = await payments.refund(payment["id"], amount=400)

    assert (response.status_code, response.json()["data"]["status"]) == (201, "pending")
    assert (await payments.get_payment(payment["id"]))["status"] == "completed"
    assert (await payments.wait_for_status(payment["id"], "partially_refunded"))["refunded"] == usd(400)


async def test_one_key_creates_one_payment(payments: Payments) -> None:
    order_id = payments.orders.place(23)

    first = await payments.post_payment(23, order_id, key="k1", payment_method=VISA, confirm=True)
    again = await payments.post_payment(23, order_id, key="k1", payment_method=VISA, confirm=True)
    other = await payments.post_payment(23, order_id, key="k1", payment_method=VISA)

    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_repeated_request_does_not_count_as_the_customers_action(payments: Payments) -> None:
    order_id = payments.orders.place(23)

    responses = [
        await payments.post_payment(23, order_id, key="asks", payment_method=REQUIRES_ACTION, confirm=True)
        for _ in range(2)
    ]

    assert [response.json()["data"]["status"] for response in responses] == ["processing"] * 2
    assert responses[0].json() == responses[1].json()


async def test_a_key_of_a_declined_payment_is_declined_again(payments: Payments) -> None:
    order_id = payments.orders.place(23)

    responses = [
        await payments.post_payment(23, order_id, key="declined", payment_method=DECLINED, confirm=True)
        for _ in range(2)
    ]

    assert [(a.status_code, a.json()["code"]) for a in responses] == [(402, "card_declined")] * 2
    assert responses[0].json()["payment_id"] == responses[1].json()["payment_id"]


async def test_one_key_creates_one_refund(payments: Payments) -> None:
    payment = await payments.complete_payment(23, 1000)

    first = await payments.refund(payment["id"], key="r1", amount=100)
    again = await payments.refund(payment["id"], key="r1", amount=100)
    other = await payments.refund(payment["id"], key="r1", amount=200)

    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (await payments.get_payment(payment["id"]))["refunded"] == usd(100)


async def test_saved_methods_belong_to_one_user(payments: Payments) -> None:
    saved = await payments.post("/payment-methods", 24, {"payment_method": VISA})

    assert saved.status_code == 201
    method = saved.json()["data"]
    assert (method["brand"], method["last4"], method["exp_month"]) == ("visa", "4242", 12)
    assert "ref" not in method
    assert (await payments.get("/payment-methods", 24)).json()["data"] == [method]
    assert (await payments.get("/payment-methods", 25)).json()["data"] == []
    await payments.post("/payment-methods", 25, {"payment_method": VISA})
    by_other_user = await payments.post_payment(
        25, payments.orders.place(25), payment_method_id=method["id"], confirm=True
    )
    assert (by_other_user.status_code, by_other_user.json()["code"]) == (404, "unknown_payment_method")
    assert (await payments.delete(f"/payment-methods/{method['id']}", 25)).status_code == 404
    paid = await payments.post_payment(24, payments.orders.place(24), payment_method_id=method["id"], confirm=True)
    assert paid.json()["data"]["status"] == "completed"
    assert (await payments.delete(f"/payment-methods/{method['id']}", 24)).status_code == 204
    assert (await payments.delete(f"/payment-methods/{method['id']}", 24)).status_code == 404
    assert (await payments.get("/payment-methods", 24)).json()["data"] == []


async def test_a_user_can_save_a_limited_number_of_methods(payments: Payments) -> None:
    responses = [await payments.post("/payment-methods", 26, {"payment_method": VISA}) for _ in range(21)]

    assert [response.status_code for response in responses] == [201] * 20 + [409]
    assert responses[-1].json()["code"] == "too_many_payment_methods"


async def test_webhooks_are_refused_where_no_secret_is_set(payments: Payments) -> None:
    response = await payments.http.post("/api/v1/webhooks/stripe", content=b"{}")

    assert (response.status_code, response.json()["code"]) == (404, "webhooks_not_configured")


ORDER = '"order_id": "018f0000-0000-7000-8000-000000000000"'


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, "malformed_json"),
        ("[]", 422, "invalid_field"),
        ("null", 422, "invalid_field"),
        ("{}", 422, "invalid_field"),
        ('{"order_id": 1}', 422, "invalid_field"),
        ('{"order_id": "x"}', 422, "invalid_field"),
        ("{" + ORDER + ', "confirm": true}', 422, "invalid_field"),
        ("{" + ORDER + ', "confirm": 1}', 422, "invalid_field"),
        ("{" + ORDER + ', "payment_method": ""}', 422, "invalid_field"),
        ("{" + ORDER + ', "payment_method": "4242424242424242"}', 422, "invalid_field"),
        ("{" + ORDER + ', "payment_method": "pm_a\\u0000b"}', 422, "invalid_field"),
        ("{" + ORDER + ', "payment_method": "pm_\\ud800"}', 422, "invalid_field"),
        ("{" + ORDER + ', "payment_method": "pm_card_visa\\n"}', 422, "invalid_field"),
        ("{" + ORDER + ', "payment_method_id": 5}', 422, "invalid_field"),
        (
            "{" + ORDER + ', "payment_method": "pm_x", "payment_method_id": "018f0000-0000-7000-8000-000000000000"}',
            422,
            "invalid_field",
        ),
        ("{" + ORDER + ', "unknown": 1}', 422, "invalid_field"),
        ("{" + ORDER + "}", 404, "unknown_order"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_bad_input_gets_a_stable_code(payments: Payments, body: str, status: int, code: str) -> None:
    headers = {**payments.bearer(27), "Content-Type": "application/json"}

    response = await payments.http.post("/api/v1/payments", content=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        {"amount": 0},
        {"amount": -1},
        {"amount": 1.5},
        {"amount": "1"},
        {"amount": True},
        {"amount": 2**63},
        {"amount": usd(1)},
        {"reason": "x" * 501},
        {"reason": "\x00"},
        {"reason": 1},
        {"all": True},
    ],
    ids=str,
)
async def test_a_malformed_refund_is_refused(payments: Payments, body: dict[str, Any]) -> None:
    payment = await payments.complete_payment(27)

    response = await payments.refund(payment["id"], **body)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
    assert await payments.list_refunds(payment["id"]) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/payments"),
        ("POST", "/payments"),
        ("GET", f"/payments/{UNKNOWN_ID}"),
        ("GET", f"/payments/order/{UNKNOWN_ID}"),
        ("POST", f"/payments/{UNKNOWN_ID}/confirm"),
        ("POST", f"/payments/{UNKNOWN_ID}/cancel"),
        ("POST", f"/payments/{UNKNOWN_ID}/refund"),
        ("GET", f"/payments/{UNKNOWN_ID}/refunds"),
        ("GET", "/payment-methods"),
        ("POST", "/payment-methods"),
        ("DELETE", f"/payment-methods/{UNKNOWN_ID}"),
    ],
)
async def test_every_route_requires_a_token(payments: Payments, method: str, path: str) -> None:
    response = await payments.http.request(method, f"/api/v1{path}")

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("identifier", ["1", "x", "%00", "018f0000-0000-7000-8000-00000000000g"])
async def test_an_identifier_that_cannot_exist_is_refused(payments: Payments, identifier: str) -> None:
    for path in (f"/payments/{identifier}", f"/payments/order/{identifier}", f"/payments/{identifier}/refunds"):
        response = await payments.get(path, 27)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_field")


async def test_probes_and_documentation_answer(payments: Payments) -> None:
    for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
        assert (await payments.http.get(path)).status_code == 200, path
    document = (await payments.http.get("/openapi.json")).json()
    begin = document["paths"]["/api/v1/payments"]["post"]
    assert set(begin["responses"]) == {"201", "402", "4XX", "503"}
    assert "application/problem+json" in begin["responses"]["402"]["content"]


async def test_payments_and_refunds_are_counted(payments: Payments) -> None:
    def counters() -> tuple[float, ...]:
        samples: list[tuple[str, dict[str, str]]] = [
            ("payments_total", {"status": "completed"}),
            ("payments_total", {"status": "failed"}),
            ("payment_failures_total", {"reason": "card_declined"}),
            ("payments_captured_minor_units_total", {"currency": "USD"}),
            ("refunds_total", {"status": "succeeded"}),
            ("refunds_minor_units_total", {"currency": "USD"}),
        ]
        return tuple(REGISTRY.get_sample_value(name, labels) or 0 for name, labels in samples)

    before = counters()
    paid = await payments.complete_payment(28, 500)
    await payments.refund(paid["id"], amount=200)
    await payments.post_payment(28, payments.orders.place(28), payment_method=DECLINED, confirm=True)

    assert [now - then for now, then in zip(counters(), before, strict=True)] == [1, 1, 1, 500, 1, 200]
