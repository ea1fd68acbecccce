"""The business in figures."""

from prometheus_client import Counter

PAYMENTS = Counter("payments_total", "Payments by what became of them", ["status"])
CAPTURED = Counter("payments_captured_minor_units_total", "Money that was captured", ["currency"])
FAILURES = Counter("payment_failures_total", "Payments that failed, by why", ["reason"])
REFUNDS = Counter("refunds_total", "Refunds by what became of them", ["status"])
REFUNDED = Counter("refunds_minor_units_total", "Money that was given back", ["currency"])
WEBHOOKS = Counter("payment_webhooks_total", "Webhooks of the provider, by what they led to", ["outcome"])
DISCREPANCIES = Counter(
    "payment_discrepancies_total", "Payments and refunds whose provider tells another story: for people to look at"
)
