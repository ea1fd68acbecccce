"""Isolated stacks: shops as local processes, beside each other, each on databases of its own."""
