"""Backups of a shop: all its databases at one cut, encrypted, in a bucket or a folder; and their restore."""
