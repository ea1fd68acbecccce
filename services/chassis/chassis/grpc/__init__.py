"""The client and the server of gRPC calls between services."""
