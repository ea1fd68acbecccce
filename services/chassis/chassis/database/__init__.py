"""The PostgreSQL database of a service, what every service stores in it, and the Redis client."""
