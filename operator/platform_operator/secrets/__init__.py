"""The master key, and the Secrets that are derived from it."""
