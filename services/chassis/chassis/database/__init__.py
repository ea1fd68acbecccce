"""One PostgreSQL per service, and what every service stores in it."""
