"""A double of Stripe which behaves as Stripe documents.

It has the states that stripe-mock, which stores nothing, cannot reach. https://docs.stripe.com/api/payment_intents,
/api/refunds, /api/errors, /api/idempotent_requests. It deliberately accepts every refund, and with
`charges_repeatedly` every confirmation: that a customer pays once is the responsibility of the service under test.
Then the only protection is that one idempotency key takes effect once.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import stripe
from aiohttp import web

WEBHOOK_SECRET = "whsec_of_the_tests"

_DECLINES = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_visa_chargeDeclinedStolenCard": ("card_declined", "stolen_card"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", None),
}
_KNOWN = {"pm_card_visa", "pm_card_authenticationRequired", "pm_card_pendingRefund", *_DECLINES}
_MINIMUMS = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "huf": 17_500, "isk": 1, "ugx": 1, "mga": 1, "kwd": 1}
"""The smallest charge of the currencies that the tests use, in Stripe's units; the double takes no other currency."""
_MULTIPLES = {"isk": 100, "ugx": 100, "kwd": 10}
_MAXIMUM = 999_999_999_999
_CANCELLABLE = ("requires_payment_method", "requires_confirmation", "requires_action")

Response = tuple[int, dict[str, Any]]


@dataclass
class StripeDouble:
    """The state of the double, and its faults by operation.

    `lost_responses` are operations that take effect, but whose responses never arrive. `request_delays` and
    `response_delays` are in seconds, before and after an operation takes effect. `held` are operations that wait for an
    event before they take effect. `hooks` run once after it took effect, before the response. `requests` are the
    operation and the idempotency key of each request, also of those that the sweeper makes for other tests' payments.
    """

    base_url: str = ""
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    customers: dict[str, list[str]] = field(default_factory=dict)
    charges: list[str] = field(default_factory=list)
    is_unavailable: bool = False
    lost_responses: set[str] = field(default_factory=set)
    request_delays: dict[str, float] = field(default_factory=dict)
    response_delays: dict[str, float] = field(default_factory=dict)
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    charges_repeatedly: bool = False
    events_per_page: int = 100
    keeps_refunds_pending: bool = False
    refuses_refunds: bool = False
    refuses_excessive_refunds: bool = False
    refuses_intents: bool = False
    hooks: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    _responses: dict[str, tuple[str, str, Response]] = field(default_factory=dict)
    _keys_in_use: set[str] = field(default_factory=set)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def delete_idempotency_keys(self) -> None:
        """Deletes the idempotency keys, as Stripe does after a day."""
        self._responses.clear()

    def intent_of(self, payment_id: str) -> dict[str, Any]:
        (found,) = (i for i in self.intents.values() if i["metadata"]["payment_id"] == payment_id)
        return found

    def intents_of_order(self, order_id: str) -> list[dict[str, Any]]:
        return [intent for intent in self.intents.values() if intent["metadata"]["order_id"] == order_id]

    def charges_of(self, payment_id: str) -> int:
        return self.charges.count(self.intent_of(payment_id)["id"])

    def refunded_of(self, payment_id: str) -> int:
        return sum(r["amount"] for r in self.refunds.values() if r["metadata"].get("payment_id") == payment_id)

    def authenticate(self, payment_id: str, *, succeeds: bool = True) -> None:
        """Acts as the customer who passes 3-D Secure, or fails."""
        intent = self.intent_of(payment_id)
        if succeeds:
            self._charge(intent)
        else:
            error = {"type": "card_error", "code": "payment_intent_authentication_failure", "decline_code": None}
            intent.update(status="requires_payment_method", next_action=None, last_payment_error=error)
            self._happened("payment_intent.payment_failed", intent)

    def pay_in_browser(self, payment_id: str) -> None:
        """Acts as the customer who confirms with Stripe.js."""
        self._charge(self.intent_of(payment_id))

    def refund_in_dashboard(self, payment_id: str, amount: int) -> dict[str, Any]:
        """Acts as an employee who makes a refund in Stripe's dashboard, and returns the refund."""
        intent = self.intent_of(payment_id)
        form = {"payment_intent": intent["id"], "amount": str(amount)}
        _, refund = self._make_refund(form)
        return refund

    def event(self, event_type: str, subject: dict[str, Any]) -> bytes:
        """Returns the body of a webhook, whose event is not listed: it may say what never happened."""
        return json.dumps(self._event(event_type, subject)).encode()

    def webhook_of(self, subject: dict[str, Any]) -> bytes:
        """Returns the body of the webhook of the last event of a payment intent or refund."""
        return json.dumps([e for e in self.events if e["data"]["object"]["id"] == subject["id"]][-1]).encode()

    def _event(self, event_type: str, subject: dict[str, Any]) -> dict[str, Any]:
        created, number = int(time.time()), next(self._numbers)
        snapshot = json.loads(json.dumps(subject))
        return {
            "id": f"evt_{number}",
            "object": "event",
            "type": event_type,
            "created": created,
            "data": {"object": snapshot},
        }

    def _happened(self, event_type: str, subject: dict[str, Any]) -> None:
        """Adds the event to the list of events."""
        self.events.append(self._event(event_type, subject))

    def reset(self) -> None:
        """Removes all faults."""
        self.is_unavailable = self.charges_repeatedly = self.keeps_refunds_pending = self.refuses_refunds = (
            self.refuses_intents
        ) = self.refuses_excessive_refunds = False
        self.events_per_page = 100
        self.lost_responses.clear()
        self.request_delays.clear()
        self.response_delays.clear()
        self.held.clear()
        self.hooks.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        operation = request.match_info.route.name or ""
        form = dict((await request.post()).items())
        self.requests.append((operation, request.headers.get("Idempotency-Key", "")))
        if operation in self.request_delays:
            await asyncio.sleep(self.request_delays[operation])
        if operation in self.held:
            await self.held[operation].wait()
        if self.is_unavailable:
            return web.json_response({"error": {"type": "api_error", "message": "unavailable"}}, status=503)
        status, body = await self._respond_once(request, operation, form)
        if (hook := self.hooks.pop(operation, None)) is not None:
            await hook()
        if operation in self.response_delays:
            await asyncio.sleep(self.response_delays[operation])
        if operation in self.lost_responses and request.transport is not None:
            request.transport.abort()
        return web.json_response(body, status=status, headers={"Request-Id": f"req_{next(self._numbers)}"})

    async def _respond_once(self, request: web.Request, operation: str, form: dict[str, Any]) -> Response:
        """Returns the first response of an idempotency key again, card errors included; conflicts are not stored."""
        key = request.headers.get("Idempotency-Key", "")
        if request.method != "POST" or not key:
            return await self._execute(request, operation, form)
        if key in self._keys_in_use:
            return 409, {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": "busy"}}
        if key in self._responses:
            path, sent, response = self._responses[key]
            if (path, sent) != (request.path, repr(sorted(form.items()))):
                return 400, {"error": {"type": "idempotency_error", "message": "other parameters"}}
            return response
        self._keys_in_use.add(key)
        try:
            response = await self._execute(request, operation, form)
        finally:
            self._keys_in_use.discard(key)
        self._responses[key] = (request.path, repr(sorted(form.items())), response)
        return response

    async def _execute(self, request: web.Request, operation: str, form: dict[str, Any]) -> Response:
        await asyncio.sleep(0)  # lets concurrent requests interleave
        reference = request.match_info.get("id", "")
        result: Response = getattr(self, f"_{operation}")(reference, form, request)
        return json.loads(json.dumps(result[0])), json.loads(json.dumps(result[1]))

    def _create_intent(self, _id: str, form: dict[str, Any], _request: web.Request) -> Response:
        if any(name.startswith("payment_method_types") for name in form):
            return _invalid("payment_method_types_no_longer_supported", "payment_method_types")  # since 2026-09-30
        if self.refuses_intents:
            return _invalid("amount_too_small", "amount")
        if (refusal := _refuse_amount(form["currency"], int(form["amount"]))) is not None:
            return refusal
        number = next(self._numbers)
        intent = {
            "id": f"pi_{number}",
            "object": "payment_intent",
            "amount": int(form["amount"]),
            "amount_received": 0,
            "currency": form["currency"],
            "status": "requires_payment_method",
            "client_secret": f"pi_{number}_secret_of_the_browser",
            "last_payment_error": None,
            "next_action": None,
            "customer": None,
            "metadata": _metadata(form),
        }
        self.intents[intent["id"]] = intent
        return 200, intent

    def _get_intent(self, reference: str, _form: dict[str, Any], _request: web.Request) -> Response:
        return 200, self.intents[reference]

    def _update_intent(self, reference: str, form: dict[str, Any], _request: web.Request) -> Response:
        self.intents[reference].update(customer=form["customer"])
        return 200, self.intents[reference]

    def _confirm_intent(self, reference: str, form: dict[str, Any], _request: web.Request) -> Response:
        intent, method = self.intents[reference], form["payment_method"]
        if intent["status"] == "canceled" or (intent["status"] == "succeeded" and not self.charges_repeatedly):
            return _unexpected(intent)
        owner = next((customer for customer, methods in self.customers.items() if method in methods), None)
        if method not in _KNOWN and (owner is None or owner != intent["customer"]):
            return _invalid("resource_missing", "payment_method")
        if method in _DECLINES:
            code, decline = _DECLINES[method]
            error = {"type": "card_error", "code": code, "decline_code": decline, "message": "Your card was declined."}
            intent.update(status="requires_payment_method", last_payment_error=error)
            self._happened("payment_intent.payment_failed", intent)
            return 402, {"error": {**error, "payment_intent": intent}}
        if method == "pm_card_authenticationRequired":
            intent.update(status="requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}})
            return 200, intent
        self._charge(intent)
        return 200, intent

    def _charge(self, intent: dict[str, Any]) -> None:
        self.charges.append(intent["id"])
        intent.update(status="succeeded", amount_received=intent["amount"], next_action=None)
        self._happened("payment_intent.succeeded", intent)

    def _cancel_intent(self, reference: str, _form: dict[str, Any], _request: web.Request) -> Response:
        intent = self.intents[reference]
        if intent["status"] not in _CANCELLABLE:
            return _unexpected(intent)
        intent.update(status="canceled", next_action=None)
        self._happened("payment_intent.canceled", intent)
        return 200, intent

    def _create_refund(self, _id: str, form: dict[str, Any], _request: web.Request) -> Response:
        if self.refuses_refunds:
            return _invalid("charge_disputed", "payment_intent")
        if int(form["amount"]) % _MULTIPLES.get(self.intents[form["payment_intent"]]["currency"], 1):
            return _invalid("parameter_invalid_integer", "amount")
        if self.refuses_excessive_refunds and int(form["amount"]) > self._refundable(form["payment_intent"]):
            return _invalid("charge_already_refunded", "amount")
        return self._make_refund(form)

    def _refundable(self, intent_id: str) -> int:
        refunded = sum(int(r["amount"]) for r in self.refunds.values() if r["payment_intent"] == intent_id)
        return int(self.intents[intent_id]["amount_received"]) - refunded

    def _make_refund(self, form: dict[str, Any]) -> Response:
        refund = {
            "id": f"re_{next(self._numbers)}",
            "object": "refund",
            "amount": int(form["amount"]),
            "currency": self.intents[form["payment_intent"]]["currency"],
            "payment_intent": form["payment_intent"],
            "status": "pending" if self.keeps_refunds_pending else "succeeded",
            "metadata": _metadata(form),
        }
        self.refunds[refund["id"]] = refund
        self._happened("refund.created", refund)
        return 200, refund

    def _list_refunds(self, _id: str, _form: dict[str, Any], request: web.Request) -> Response:
        intent_id = request.query["payment_intent"]
        found = [refund for refund in self.refunds.values() if refund["payment_intent"] == intent_id]
        return 200, {"object": "list", "url": "/v1/refunds", "has_more": False, "data": found}

    def _list_events(self, _id: str, _form: dict[str, Any], request: web.Request) -> Response:
        """Lists events, the newest first, as Stripe documents it: docs.stripe.com/api/events/list."""
        types = {value for name, value in request.query.items() if name.startswith("types[")}
        since, limit = int(request.query["created[gte]"]), int(request.query["limit"])
        listed = [each for each in reversed(self.events) if each["type"] in types and each["created"] >= since]
        if (after := request.query.get("starting_after")) is not None:
            ids = [each["id"] for each in self.events]
            if after not in ids:
                return _invalid("resource_missing", "starting_after", status=404)
            position = ids.index(after)
            listed = [each for each in listed if ids.index(each["id"]) < position]
        page = listed[: min(limit, self.events_per_page)]
        return 200, {"object": "list", "url": "/v1/events", "has_more": len(page) < len(listed), "data": page}

    def _get_refund(self, reference: str, _form: dict[str, Any], _request: web.Request) -> Response:
        return 200, self.refunds[reference]

    def _create_customer(self, _id: str, form: dict[str, Any], _request: web.Request) -> Response:
        reference = f"cus_{next(self._numbers)}"
        self.customers[reference] = []
        return 200, {"id": reference, "object": "customer", "metadata": _metadata(form)}

    def _delete_customer(self, reference: str, _form: dict[str, Any], _request: web.Request) -> Response:
        if self.customers.pop(reference, None) is None:
            return _invalid("resource_missing", "id", status=404)
        return 200, {"id": reference, "object": "customer", "deleted": True}

    def _attach(self, reference: str, form: dict[str, Any], _request: web.Request) -> Response:
        if reference not in _KNOWN:
            return _invalid("resource_missing", "payment_method", status=404)
        saved = f"pm_saved_{next(self._numbers)}"
        self.customers[form["customer"]].append(saved)
        card = {"brand": "visa", "last4": "4242", "exp_month": 4, "exp_year": 2044}
        return 200, {"id": saved, "object": "payment_method", "type": "card", "card": card}

    def _detach(self, reference: str, _form: dict[str, Any], _request: web.Request) -> Response:
        for methods in self.customers.values():
            if reference in methods:
                methods.remove(reference)
                return 200, {"id": reference, "object": "payment_method", "type": "card", "card": None}
        return _invalid("payment_method_unexpected_state", "payment_method")


def sign(body: bytes, secret: str = WEBHOOK_SECRET, at: int | None = None) -> dict[str, str]:
    """Returns the headers of a webhook, signed at a Unix time, by default now."""
    header: str = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)
    return {"Stripe-Signature": header, "Content-Type": "application/json"}


@asynccontextmanager
async def run_stripe_double() -> AsyncIterator[StripeDouble]:
    double = StripeDouble()
    app = web.Application()
    for method, path, name in [
        ("POST", "/v1/payment_intents", "create_intent"),
        ("GET", "/v1/payment_intents/{id}", "get_intent"),
        ("POST", "/v1/payment_intents/{id}", "update_intent"),
        ("POST", "/v1/payment_intents/{id}/confirm", "confirm_intent"),
        ("POST", "/v1/payment_intents/{id}/cancel", "cancel_intent"),
        ("POST", "/v1/refunds", "create_refund"),
        ("GET", "/v1/refunds", "list_refunds"),
        ("GET", "/v1/refunds/{id}", "get_refund"),
        ("GET", "/v1/events", "list_events"),
        ("POST", "/v1/customers", "create_customer"),
        ("DELETE", "/v1/customers/{id}", "delete_customer"),
        ("POST", "/v1/payment_methods/{id}/attach", "attach"),
        ("POST", "/v1/payment_methods/{id}/detach", "detach"),
    ]:
        app.router.add_route(method, path, double.handle, name=name)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    double.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield double
    finally:
        await runner.cleanup()


def _metadata(form: dict[str, Any]) -> dict[str, str]:
    prefix = "metadata["
    return {name[len(prefix) : -1]: value for name, value in form.items() if name.startswith(prefix)}


def _invalid(code: str, param: str, status: int = 400) -> Response:
    return status, {"error": {"type": "invalid_request_error", "code": code, "param": param, "message": "No."}}


def _refuse_amount(currency: str, amount: int) -> Response | None:
    """Returns the refusal of an amount in Stripe's units, None if Stripe charges it: docs.stripe.com/currencies.

    A wrong unit is noticed only here: a króna that was sent as one hundredth is below the minimum or no multiple.
    """
    if currency not in _MINIMUMS:
        return _invalid("invalid_currency", "currency")
    if amount % _MULTIPLES.get(currency, 1):
        return _invalid("parameter_invalid_integer", "amount")
    if amount < _MINIMUMS[currency]:
        return _invalid("amount_too_small", "amount")
    return _invalid("amount_too_large", "amount") if amount > _MAXIMUM else None


def _unexpected(intent: dict[str, Any]) -> Response:
    error = {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": "Too late."}
    return 400, {"error": {**error, "payment_intent": intent}}
