"""Identifiers for tests."""

UNKNOWN_ID = "018f0000-0000-7000-8000-000000000000"
"""Of nothing that a test makes, and the same in every run, so that a test can be named after it."""
