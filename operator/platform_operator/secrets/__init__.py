"""The master key, and the Secrets with credentials that are derived from it."""
