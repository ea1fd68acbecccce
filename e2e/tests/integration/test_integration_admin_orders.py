"""What an admin decides on orders: cancelled while packed, refunded, paid without the provider, or tracked wrongly."""

import pytest
from chassis_testing.waiting import eventually
from devtools.shop_client import Person, Shop
from ecommerce_client import ProblemError
from ecommerce_client.models import Money
from ecommerce_client.models.order import (
    ExpectedTotal,
    ManualPaymentRequest,
    OrderItemRequest,
    OrderRequest,
    OrderResponse,
    OrderStatus,
    ShipmentRequest,
    StatusChangeRequest,
)
from ecommerce_client.models.payment import PaymentRequest, RefundRequest
from ecommerce_client.models.product import ProductRequest
from shop_e2e.api.mailbox import Mailbox


async def move(admin: Person, order: OrderResponse, status: OrderStatus, number: str | None = None) -> OrderResponse:
    return await admin.api.order.move_order(order.id, StatusChangeRequest(status=status, tracking_number=number))


async def test_an_admin_cancels_an_order_that_is_being_packed(shop: Shop, admin: Person) -> None:
    _, product = await shop.stocked_product(admin, 5)
    ada = await shop.register()
    order = await ada.buy((product, 2))
    await move(admin, order, "processing")
    assert (await shop.stock(product)).available == 3

    with pytest.raises(ProblemError) as refused:
        await ada.cancel(order.id)
    for _ in range(2):
        await move(admin, order, "cancelled")

    assert (refused.value.status, refused.value.code) == (409, "not_cancellable")
    await becomes_refunded(ada, order)

    async def stock_is_back() -> bool:
        return (await shop.stock(product)).available == 5

    await eventually(stock_is_back)
    again = await ada.order((product, 5))
    assert again.status == "pending"


async def test_a_refunded_order_is_not_shipped_until_it_is_paid_again(shop: Shop, admin: Person) -> None:
    _, product = await shop.stocked_product(admin, 5)
    ada = await shop.register()
    order = await ada.buy((product, 1))
    payment = await ada.api.payment.get_payment_of_order(order.id)
    await admin.api.payment.refund_payment(payment.id, RefundRequest(reason="agreed on the telephone"))

    async def order_knows_the_refund() -> bool:
        summary = (await ada.api.order.get_order(order.id)).payment
        return summary is not None and summary.refunded == order.total

    await eventually(order_knows_the_refund)
    with pytest.raises(ProblemError) as refused:
        await move(admin, order, "processing")
    await admin.api.order.record_manual_payment(order.id, ManualPaymentRequest(reason="cash"))
    await move(admin, order, "processing")
    shipped = await move(admin, order, "shipped")

    assert (refused.value.status, refused.value.code) == (409, "order_refunded")
    assert shipped.status == "shipped"


async def test_an_order_paid_by_bank_transfer_takes_no_card_payment(shop: Shop, admin: Person) -> None:
    _, product = await shop.stocked_product(admin, 5)
    ada = await shop.register()
    order = await ada.order((product, 1))
    begun = await ada.api.payment.begin_payment(PaymentRequest(order_id=order.id))

    paid = await admin.api.order.record_manual_payment(order.id, ManualPaymentRequest(reason="bank transfer"))

    assert paid.status == "confirmed"
    assert paid.manual_payment is not None
    assert (paid.manual_payment.amount, paid.manual_payment.recorded_by) == (order.total, admin.id)

    async def payment_is_closed() -> bool:
        return (await ada.api.payment.get_payment(begun.id)).status == "failed"

    await eventually(payment_is_closed)
    with pytest.raises(ProblemError) as refused:
        await ada.pay(order.id)
    assert (refused.value.status, refused.value.code) == (409, "order_not_payable")


async def test_the_buyer_gets_the_corrected_tracking_number(shop: Shop, admin: Person, mails: Mailbox) -> None:
    _, product = await shop.stocked_product(admin, 5)
    ada = await shop.register()
    order = await ada.buy((product, 1))
    await move(admin, order, "processing")
    await move(admin, order, "shipped", "JD01")
    await mails.wait_for(ada.email, "JD01")

    await admin.api.order.correct_shipment(order.id, ShipmentRequest(carrier="DHL", tracking_number="JD02"))

    await mails.wait_for(ada.email, "JD02")


async def test_a_raised_price_is_not_charged_without_consent(shop: Shop, admin: Person) -> None:
    seller, product = await shop.stocked_product(admin, 5)
    ada = await shop.register()
    details = await shop.api.product.get_details(product)
    seen = details.product.price
    raised = Money(amount=seen.amount + 200, currency=seen.currency)
    changed = ProductRequest.model_validate(
        details.product.model_dump(include={"name", "description", "category_id"}) | {"price": raised.model_dump()}
    )
    await seller.api.product.revise_product(product, changed)

    async def order_at(total: Money) -> OrderResponse:
        items = [OrderItemRequest(product_id=product, quantity=1)]
        expected = ExpectedTotal(amount=total.amount, currency=total.currency)
        body = OrderRequest(items=items, expected_total=expected)
        return await ada.api.order.place_order(body, idempotency_key="checkout")

    with pytest.raises(ProblemError) as refused:
        await order_at(seen)
    order = await order_at(raised)

    assert (refused.value.status, refused.value.code) == (409, "total_changed")
    assert order.total == raised
    assert (await shop.stock(product)).available == 4


async def becomes_refunded(buyer: Person, order: OrderResponse) -> None:
    """Waits until the order's payment is refunded in full."""

    async def it_is() -> bool:
        payment = await buyer.api.payment.get_payment_of_order(order.id)
        return payment.status == "refunded" and payment.refunded == order.total

    await eventually(it_is)
