"""The errors of the sample service."""

from uuid import UUID


class SampleError(Exception):
    """The base class of this service's errors."""


class UnknownSample(SampleError):
    """The caller has no such sample."""

    def __init__(self, sample_id: UUID) -> None:
        super().__init__(f"you have no sample {sample_id}")


class AlreadyClosed(SampleError):
    """A sample that is closed cannot be changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is already closed: open another one")
