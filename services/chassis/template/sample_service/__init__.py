"""The sample service: samples, which their owner opens and closes."""
