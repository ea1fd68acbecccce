"""Concurrent requests: one charge, no more refunded than was captured, one payment per key."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from chassis_testing.waiting import eventually
from payment_harness import DECLINED, VISA, Payments, order_cancelled
from shopapi.events.v1.events_pb2 import PaymentCompleted
from stripe_double import StripeDouble

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_confirmations_charge_once(stripe_payments: Payments, stripe: StripeDouble, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to reproduce a failure
    chance = random.Random(seed)
    payment = await stripe_payments.begin_payment(41)
    stripe.request_delays["confirm_intent"] = chance.choice([0.0, 0.05, 0.2])
    stripe.response_delays["confirm_intent"] = chance.choice([0.0, 0.02])
    stripe.charges_repeatedly = True

    async def confirm() -> int:
        await asyncio.sleep(chance.uniform(0, 0.05))
        return (await stripe_payments.confirm(41, payment["id"])).status_code

    statuses = await asyncio.gather(*(confirm() for _ in range(20)))

    assert set(statuses) <= {200, 503}
    await stripe_payments.wait_for_status(payment["id"], "completed")
    assert stripe.charges_of(payment["id"]) == 1
    await stripe_payments.wait_for_events(payment["order_id"], PaymentCompleted)


@pytest.mark.parametrize("seed", range(5))
async def test_concurrent_confirmations_of_the_simulated_provider_charge_once(payments: Payments, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to reproduce a failure
    payment = await payments.begin_payment(41)

    responses = await asyncio.gather(*(payments.confirm(41, payment["id"]) for _ in range(20)))

    assert {response.status_code for response in responses} == {200}
    await payments.wait_for_status(payment["id"], "completed")
    await payments.wait_for_events(payment["order_id"], PaymentCompleted)
    assert await payments.count_charges(payment["id"]) == 1


@pytest.mark.parametrize("seed", SEEDS)
async def test_concurrent_refunds_never_exceed_what_was_captured(
    stripe_payments: Payments, stripe: StripeDouble, seed: int
) -> None:
    print(f"seed {seed}")  # noqa: T201 - to reproduce a failure
    chance = random.Random(seed)
    payment = await stripe_payments.complete_payment(42, 1000)
    amounts = [chance.randint(1, 600) for _ in range(20)]

    responses = await asyncio.gather(*(stripe_payments.refund(payment["id"], amount=amount) for amount in amounts))

    refunded = sum(response.json()["data"]["amount"]["amount"] for response in responses if response.status_code == 201)
    refused = [response for response in responses if response.status_code != 201]
    assert {(response.status_code, response.json()["code"]) for response in refused} <= {
        (409, "refund_exceeds_captured")
    }
    assert 0 < refunded <= 1000
    assert stripe.refunded_of(payment["id"]) == refunded
    assert (await stripe_payments.get_payment(payment["id"]))["refunded"]["amount"] == refunded


@pytest.mark.parametrize("seed", range(3))
async def test_one_key_fifty_times_at_once_is_one_payment(payments: Payments, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to reproduce a failure
    order_id = payments.orders.place(43)

    responses = await asyncio.gather(
        *(payments.post_payment(43, order_id, key=f"once{seed}", payment_method=VISA, confirm=True) for _ in range(50))
    )

    assert {response.status_code for response in responses} == {201}
    (payment_id,) = {response.json()["data"]["id"] for response in responses}
    await payments.wait_for_status(payment_id, "completed")
    await payments.wait_for_events(order_id, PaymentCompleted)
    assert await payments.count_charges(payment_id) == 1


async def test_one_key_of_a_refund_twenty_times_at_once_is_one_refund(
    stripe_payments: Payments, stripe: StripeDouble
) -> None:
    payment = await stripe_payments.complete_payment(43, 1000)

    responses = await asyncio.gather(
        *(stripe_payments.refund(payment["id"], key="refund-once", amount=30) for _ in range(20))
    )

    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["data"]["id"] for response in responses}) == 1
    await stripe_payments.wait_for_status(payment["id"], "partially_refunded")
    assert stripe.refunded_of(payment["id"]) == 30


@pytest.mark.parametrize("seed", range(5))
async def test_concurrent_requests_begin_one_payment_per_order(payments: Payments, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - to reproduce a failure
    order_id = payments.orders.place(44)

    responses = await asyncio.gather(*(payments.post_payment(44, order_id, key=f"{seed}-{n}") for n in range(20)))

    assert sorted(response.status_code for response in responses) == [201] + [409] * 19


@pytest.mark.parametrize("action", ["confirm", "cancel"])
async def test_a_request_locks_the_order_before_its_payment(payments: Payments, action: str) -> None:
    """The sweeper and the consumer do so too: in the other order they and a request could deadlock."""
    payment = await payments.begin_payment(46)
    async with payments.sql() as sql, payments.sql() as observer:
        await sql.execute(
            "UPDATE payments SET next_check_at = now() + interval '5 minutes' WHERE id = $1", payment["id"]
        )
        await sql.execute("BEGIN")
        await sql.execute("SELECT FROM orders WHERE id = $1 FOR UPDATE", payment["order_id"])
        request = asyncio.create_task(getattr(payments, action)(46, payment["id"]))

        async def is_waiting() -> bool:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(await observer.fetchval(waiting))

        await eventually(is_waiting)
        await sql.execute("SELECT FROM payments WHERE id = $1 FOR UPDATE NOWAIT", payment["id"])
        await sql.execute("ROLLBACK")

    assert (await request).status_code == 200


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_one_pays_for_a_cancelled_order(stripe_payments: Payments, stripe: StripeDouble, seed: int) -> None:
    """Whichever of confirmation, cancellation and the order's cancellation wins, all that was captured is refunded."""
    print(f"seed {seed}")  # noqa: T201 - to reproduce a failure
    chance = random.Random(seed)
    payment = await stripe_payments.begin_payment(45, 1000)
    actions: list[Callable[[], Awaitable[object]]] = [
        lambda: stripe_payments.confirm(45, payment["id"]),
        lambda: stripe_payments.confirm(45, payment["id"], chance.choice([VISA, DECLINED])),
        lambda: stripe_payments.cancel(45, payment["id"]),
        lambda: stripe_payments.deliver_events(order_cancelled(payment["order_id"])),
    ]
    chance.shuffle(actions)

    async def act(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 0.03) * number)
        await actions[number]()

    await asyncio.gather(*(act(number) for number in range(len(actions))))

    status = "refunded" if stripe.charges_of(payment["id"]) else "failed"
    await stripe_payments.wait_for_status(payment["id"], status)
    assert stripe.charges_of(payment["id"]) <= 1
    assert stripe.refunded_of(payment["id"]) == 1000 * stripe.charges_of(payment["id"])
    assert stripe.intent_of(payment["id"])["status"] in ("succeeded", "canceled")
