"""Turns a spec into Kubernetes objects: chart values, then Helm."""
