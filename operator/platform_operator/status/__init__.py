"""The status of a platform: conditions, parts, Events, and the diagnosis of pods that do not start."""
