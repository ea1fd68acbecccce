"""Test support for services: real servers, fakes of neighbours, a fault proxy. In no image."""
