"""The business invariants of a platform: scraped from its services, told in its status."""
