"""Compares desired objects with observed ones and decides what to apply, what to prune and what to wait for."""
