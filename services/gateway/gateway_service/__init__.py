"""The entry point of the shop: routing, authentication, rate limits, and the merged API documentation."""
