"""The collection of garbage: which objects a full collection looks at."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from platform_operator.heap import MAX_SURVIVORS, keep_collections_short


@pytest.fixture(autouse=True)
def _own_heap() -> Iterator[None]:
    """Exempts the objects of other tests, and ends with the collector as it was."""
    callbacks = [*gc.callbacks]
    gc.collect()
    gc.freeze()
    keep_collections_short()
    yield
    gc.callbacks[:] = callbacks
    gc.unfreeze()


def test_what_survives_a_full_collection_is_not_looked_at_again_when_it_is_much() -> None:
    frozen = gc.get_freeze_count()
    fleet = [[one] for one in range(MAX_SURVIVORS + 1)]
    gc.collect()
    assert gc.get_freeze_count() >= frozen + len(fleet)
    assert len(gc.get_objects(2)) < MAX_SURVIVORS


def test_a_few_survivors_are_looked_at_again_so_that_their_cycles_are_freed() -> None:
    frozen = gc.get_freeze_count()
    cycle: list[object] = [[one] for one in range(1000)]
    cycle.append(cycle)
    gc.collect()
    assert gc.get_freeze_count() <= frozen
    del cycle
    assert gc.collect() >= 1001


def test_a_collection_of_new_objects_alone_freezes_nothing() -> None:
    fleet = [[one] for one in range(MAX_SURVIVORS + 1)]
    frozen = gc.get_freeze_count()
    gc.collect(0)
    gc.collect(1)
    assert gc.get_freeze_count() <= frozen
    assert len(fleet) > MAX_SURVIVORS
