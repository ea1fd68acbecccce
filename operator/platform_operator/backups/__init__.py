"""Backups: the Jobs and CronJobs that make them, and what came of them."""
