"""The operator of EcommercePlatforms: turns each custom resource into a working shop, and keeps it in that state."""
