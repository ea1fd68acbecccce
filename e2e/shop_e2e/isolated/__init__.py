"""Isolated stacks: shops as local processes, one for each test module."""
