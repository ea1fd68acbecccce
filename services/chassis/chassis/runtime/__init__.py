"""The process of a service: its command line, what it is built on, and its life from start to shutdown."""
