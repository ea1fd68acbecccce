"""Payments, refunds, saved payment methods, and the provider's webhooks."""
