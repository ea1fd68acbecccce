"""Everything at once, twenty times over: one charge, never more back than was captured, one payment per key."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from payment_harness import DECLINED, VISA, Payments, cancelled
from shopapi.events.v1.events_pb2 import PaymentCompleted
from stripe_double import StripeDouble

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_confirmations_charge_once(striped: Payments, stripe: StripeDouble, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to repeat it with
    chance = random.Random(seed)
    payment = await striped.begun(41)
    stripe.late["confirm_intent"] = chance.choice([0.0, 0.05, 0.2])
    stripe.slow["confirm_intent"] = chance.choice([0.0, 0.02])
    stripe.is_careless = True

    async def confirm() -> int:
        await asyncio.sleep(chance.uniform(0, 0.05))
        return (await striped.confirm(41, payment["id"])).status_code

    statuses = await asyncio.gather(*(confirm() for _ in range(20)))

    assert set(statuses) <= {200, 503}
    await striped.becomes(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1
    await striped.heard(payment["order_id"], PaymentCompleted)


@pytest.mark.parametrize("seed", range(5))
async def test_concurrent_confirmations_of_the_simulated_provider_charge_once(payments: Payments, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to repeat it with
    payment = await payments.begun(41)

    answers = await asyncio.gather(*(payments.confirm(41, payment["id"]) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    await payments.becomes(payment["id"], "completed")
    await payments.heard(payment["order_id"], PaymentCompleted)
    assert await payments.charged(payment["id"]) == 1


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_refunds_never_exceed_what_was_captured(
    striped: Payments, stripe: StripeDouble, seed: int
) -> None:
    print(f"seed {seed}")  # noqa: T201 - to repeat it with
    chance = random.Random(seed)
    payment = await striped.paid(42, 1000)
    amounts = [chance.randint(1, 600) for _ in range(20)]

    answers = await asyncio.gather(*(striped.refund(payment["id"], amount=amount) for amount in amounts))

    given = sum(answer.json()["data"]["amount"]["amount"] for answer in answers if answer.status_code == 201)
    refused = [answer for answer in answers if answer.status_code != 201]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} <= {(409, "refund_exceeds_captured")}
    assert 0 < given <= 1000
    assert stripe.refunded_of(payment["id"]) == given
    assert (await striped.payment(payment["id"]))["refunded"]["amount"] == given


@pytest.mark.parametrize("seed", range(3))
async def test_one_key_fifty_times_at_once_is_one_payment(payments: Payments, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to repeat it with
    order_id = payments.orders.place(43)

    answers = await asyncio.gather(
        *(payments.begin(43, order_id, key=f"once{seed}", payment_method=VISA, confirm=True) for _ in range(50))
    )

    assert {answer.status_code for answer in answers} == {201}
    (payment_id,) = {answer.json()["data"]["id"] for answer in answers}
    await payments.becomes(payment_id, "completed")
    await payments.heard(order_id, PaymentCompleted)
    assert await payments.charged(payment_id) == 1


async def test_one_key_of_a_refund_twenty_times_at_once_is_one_refund(striped: Payments, stripe: StripeDouble) -> None:
    payment = await striped.paid(43, 1000)

    answers = await asyncio.gather(*(striped.refund(payment["id"], key="refund-once", amount=30) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    await striped.becomes(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 30


@pytest.mark.parametrize("seed", range(5))
async def test_an_order_is_begun_to_be_paid_once(payments: Payments, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to repeat it with
    order_id = payments.orders.place(44)

    answers = await asyncio.gather(*(payments.begin(44, order_id, key=f"{seed}-{n}") for n in range(20)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_wins_nobody_pays_for_a_cancelled_order(
    striped: Payments, stripe: StripeDouble, seed: int
) -> None:
    """Confirmations, the buyer's cancelling and the order's cancellation at once: in the end nothing is captured and kept."""
    print(f"seed {seed}")  # noqa: T201 - to repeat it with
    chance = random.Random(seed)
    payment = await striped.begun(45, 1000)
    acts: list[Callable[[], Awaitable[object]]] = [
        lambda: striped.confirm(45, payment["id"]),
        lambda: striped.confirm(45, payment["id"], chance.choice([VISA, DECLINED])),
        lambda: striped.cancel(45, payment["id"]),
        lambda: striped.tell(cancelled(payment["order_id"])),
    ]
    chance.shuffle(acts)

    async def later(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 0.03) * number)
        await acts[number]()

    await asyncio.gather(*(later(number) for number in range(len(acts))))

    status = "refunded" if stripe.charges_of(payment["id"]) else "failed"
    await striped.becomes(payment["id"], status)
    assert stripe.charges_of(payment["id"]) <= 1
    assert stripe.refunded_of(payment["id"]) == 1000 * stripe.charges_of(payment["id"])
    assert stripe.intent_of(payment["id"])["status"] in ("succeeded", "canceled")
