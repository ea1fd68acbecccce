"""Test support for services: databases, a virtual host of the broker, fakes of neighbours, a fault proxy.

In no image.
"""
