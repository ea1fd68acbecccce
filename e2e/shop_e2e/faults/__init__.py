"""Fault injection: chaos run, crash points, server faults, and the order load that runs beside them."""
