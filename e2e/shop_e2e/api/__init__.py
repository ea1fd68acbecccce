"""Test support for the shop's public API."""
