"""What a constraint of the database refuses, told as an error of the domain."""

from collections.abc import Iterator
from contextlib import contextmanager

from asyncpg.exceptions import ForeignKeyViolationError, UniqueViolationError
from sqlalchemy.exc import IntegrityError


@contextmanager
def duplicate_is(refusal: Exception) -> Iterator[None]:
    with _translated(UniqueViolationError, refusal):
        yield


@contextmanager
def broken_reference_is(refusal: Exception) -> Iterator[None]:
    with _translated(ForeignKeyViolationError, refusal):
        yield


@contextmanager
def _translated(violation: type[Exception], refusal: Exception) -> Iterator[None]:
    """The transaction is lost either way: the refusal must end it."""
    try:
        yield
    except IntegrityError as error:
        if error.orig is not None and isinstance(error.orig.__cause__, violation):
            raise refusal from error
        raise
