"""The status of a platform: conditions, services and databases, Events, and the diagnosis of pods that do not start."""
