"""Measures the operator with many shops on a real API server with simulated nodes: `make bench-operator`."""
