"""Tenants: the namespace, limits, rights and shop of each, by its plan."""
