"""The HTTP side of a service: its application, middleware, schemas, problem responses and access tokens."""
