"""Backups: the Jobs and CronJobs that make them, and their results."""
