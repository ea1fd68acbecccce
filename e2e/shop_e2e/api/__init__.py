"""What tests need to drive the shop's public API."""
