import pytest

from platform_operator.render import connection_pools as connections


@pytest.mark.parametrize("memory", ["256Mi", "1Gi", "4Gi", "1500M", "2G", "1073741824", "0.5Gi"])
@pytest.mark.parametrize("pods", [1, 2, 4, 10])
def test_all_pods_and_one_of_the_next_release_find_room_in_the_database(memory: str, pods: int) -> None:
    own_and_for_books = connections.pool(memory, pods) + 1
    assert (pods + 1) * own_and_for_books + 6 <= connections.max_connections(memory)


def test_few_pods_hold_the_usual_number() -> None:
    assert connections.pool("256Mi", 1) == connections.USUAL


def test_more_pods_than_a_database_has_room_for_hold_one_each() -> None:
    assert connections.pool("256Mi", 100) == 1


@pytest.mark.parametrize("memory", ["64Mi", "1e9", "plenty"])
def test_a_database_has_forty_connections_at_least(memory: str) -> None:
    assert connections.max_connections(memory) == 40
