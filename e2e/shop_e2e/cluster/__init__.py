"""Drives shops on the kind cluster."""
