"""The one entry: routing, authentication, documentation of everything."""
