"""A reservation ends only when its order needs it no more, and the order service says so."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import uuid7
from inventory_harness import UseCases
from inventory_service.domain.errors import OutOfStock
from inventory_service.domain.reservations import OrderState, StateOfOrder, extended_until
from inventory_service.service.expiry import COMMITTED, EXTENDED, UNANSWERED

LAST_UNIT = 1


async def reserve_last_unit(use_cases: UseCases) -> tuple[UUID, int]:
    order, product = uuid7(), use_cases.new_product()
    await use_cases.set_stock(product, LAST_UNIT)
    await use_cases.reserve(order, (product, LAST_UNIT))
    return order, product


def stand(use_cases: UseCases, order: UUID, state: OrderState, expires_in_hours: float | None = None) -> None:
    expires_at = None if expires_in_hours is None else use_cases.now() + timedelta(hours=expires_in_hours)
    use_cases.orders.states_by_order[order] = StateOfOrder(state, expires_at)


@pytest.mark.parametrize("expires_in_hours", [2, -2])
async def test_the_last_unit_of_an_order_whose_event_is_late_is_not_sold_to_another_buyer(
    use_cases: UseCases, expires_in_hours: float
) -> None:
    order, product = await reserve_last_unit(use_cases)
    stand(use_cases, order, OrderState.OPEN, expires_in_hours)
    kept = EXTENDED._value.get()

    await use_cases.expire_reservations()

    with pytest.raises(OutOfStock):
        await use_cases.reserve(uuid7(), (product, LAST_UNIT))
    assert (await use_cases.status(order), await use_cases.units(product)) == ("pending", (1, 1, 0))
    assert EXTENDED._value.get() == kept + 1
    await use_cases.receive_confirmed(order, (product, LAST_UNIT))
    assert (await use_cases.status(order), await use_cases.event_counts(order)) == ("committed", {})


async def test_the_stock_of_a_paid_order_whose_event_is_late_or_lost_is_committed_once(use_cases: UseCases) -> None:
    order, product = await reserve_last_unit(use_cases)
    stand(use_cases, order, OrderState.PAID)
    committed = COMMITTED._value.get()

    await use_cases.expire_reservations()

    assert COMMITTED._value.get() == committed + 1
    state = await use_cases.status(order), await use_cases.units(product), await use_cases.event_counts(order)
    assert state == ("committed", (1, 0, 1), {})
    await use_cases.receive_placed(order, (product, LAST_UNIT))
    await use_cases.receive_confirmed(order, (product, LAST_UNIT))
    assert await use_cases.units(product) == (1, 0, 1)
    await use_cases.receive_shipped(order)
    assert await use_cases.movements(product) == [("set", 1, 1), ("sale", -1, 0)]
    await use_cases.receive_cancelled(order)
    assert (await use_cases.status(order), await use_cases.units(product)) == ("released", (1, 0, 0))


async def test_an_extended_reservation_is_asked_about_again_after_its_order_expires(use_cases: UseCases) -> None:
    order, product = await reserve_last_unit(use_cases)
    stand(use_cases, order, OrderState.OPEN, expires_in_hours=1.5)
    await use_cases.expire_reservations()
    use_cases.orders.questions.clear()
    await use_cases.expiry.expire_overdue()
    assert use_cases.orders.questions == []

    del use_cases.orders.states_by_order[order]
    await use_cases.expire_reservations()

    assert (await use_cases.status(order), await use_cases.units(product)) == ("expired", (1, 0, 0))


async def test_the_stock_of_a_cancelled_order_is_released_and_never_held_for_it_again(use_cases: UseCases) -> None:
    order, product = await reserve_last_unit(use_cases)
    stand(use_cases, order, OrderState.CANCELLED)

    await use_cases.expire_reservations()

    assert (await use_cases.status(order), await use_cases.units(product)) == ("released", (1, 0, 0))
    await use_cases.receive_placed(order, (product, LAST_UNIT))
    await use_cases.receive_cancelled(order)
    assert (await use_cases.status(order), await use_cases.units(product)) == ("released", (1, 0, 0))


async def test_nothing_is_given_up_while_order_does_not_answer(use_cases: UseCases) -> None:
    order, product = await reserve_last_unit(use_cases)
    use_cases.orders.is_unavailable = True
    use_cases.orders.questions.clear()

    await use_cases.expire_reservations()

    assert (await use_cases.status(order), await use_cases.units(product)) == ("pending", (1, 1, 0))
    assert len(use_cases.orders.questions) == 1
    assert UNANSWERED._value.get() >= timedelta(minutes=58).total_seconds()

    use_cases.orders.is_unavailable = False
    await use_cases.expiry.expire_overdue()
    assert (await use_cases.status(order), UNANSWERED._value.get()) == ("expired", 0)


async def test_a_full_batch_without_an_answer_is_asked_about_once_per_sweep(use_cases: UseCases) -> None:
    product = use_cases.new_product()
    await use_cases.set_stock(product, 300)
    for _ in range(125):
        await use_cases.reserve(uuid7(), (product, 1))
    use_cases.orders.is_unavailable = True
    use_cases.orders.questions.clear()

    await use_cases.expire_reservations()

    assert [len(question) for question in use_cases.orders.questions] == [100]
    use_cases.orders.is_unavailable = False
    await use_cases.expiry.expire_overdue()
    assert await use_cases.units(product) == (300, 0, 0)


async def test_a_reservation_extended_while_order_is_asked_is_kept(use_cases: UseCases) -> None:
    order, product = await reserve_last_unit(use_cases)

    async def repeat_the_placement() -> None:
        await use_cases.reserve(order, (product, LAST_UNIT))

    use_cases.orders.before_answering = repeat_the_placement
    await use_cases.expire_reservations()

    assert (await use_cases.status(order), await use_cases.units(product)) == ("pending", (1, 1, 0))


async def test_a_reservation_committed_while_order_is_asked_stays_committed(use_cases: UseCases) -> None:
    order, product = await reserve_last_unit(use_cases)

    async def confirm() -> None:
        await use_cases.receive_confirmed(order, (product, LAST_UNIT))

    use_cases.orders.before_answering = confirm
    await use_cases.expire_reservations()

    assert (await use_cases.status(order), await use_cases.units(product)) == ("committed", (1, 0, 1))


def test_a_reservation_is_kept_past_the_expiry_of_its_order_but_never_ends_in_the_past() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    later, earlier = at + timedelta(hours=1), at - timedelta(hours=1)

    assert extended_until(StateOfOrder(OrderState.OPEN, later), at) > later
    assert extended_until(StateOfOrder(OrderState.OPEN, earlier), at) > at
