"""gRPC between services."""
