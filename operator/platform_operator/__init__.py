"""The operator: turns an EcommercePlatform into a working shop, and keeps it one."""
