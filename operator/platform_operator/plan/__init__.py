"""Compares desired objects with observed ones: what to apply and why, what to prune, what to wait for. Pure."""
