"""Backups and restores: their Jobs and CronJobs, and what came of them."""
