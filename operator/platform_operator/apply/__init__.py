"""Carries a plan out: server-side apply, pruning, and the inventory of what was applied."""
