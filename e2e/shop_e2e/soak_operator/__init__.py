"""Disturbs many shops and two operators for an hour, and checks what is left: `make soak-operator`."""
