"""Carries a plan out: server-side apply, pruning, and the stored inventory."""
