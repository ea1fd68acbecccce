"""Sends mails and SMS from templates, and keeps the history of their delivery."""
