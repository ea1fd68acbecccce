"""Injects faults into a running shop: chaos run, crash points, server faults, order load."""
