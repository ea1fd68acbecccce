"""What can go wrong with samples."""

from uuid import UUID


class SampleError(Exception):
    """The root of this service's errors."""


class UnknownSample(SampleError):
    """The caller has no such sample."""

    def __init__(self, sample_id: UUID) -> None:
        super().__init__(f"you have no sample {sample_id}")


class AlreadyClosed(SampleError):
    """What is closed stays as it is."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is closed already: open another one")
