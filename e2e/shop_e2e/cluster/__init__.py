"""Test support for shops on the kind cluster."""
