"""Identifiers for tests."""

UNKNOWN_ID = "018f0000-0000-7000-8000-000000000000"
"""An id that no test creates. It is the same in every run, so that the name of a test can include it."""
