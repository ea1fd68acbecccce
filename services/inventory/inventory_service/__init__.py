"""Stock and its reservations."""
