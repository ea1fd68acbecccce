"""Turns a spec into Kubernetes objects: chart values, which are pure, and then Helm."""
