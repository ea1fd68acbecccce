import pytest

from platform_operator.render import connection_pools


@pytest.mark.parametrize("memory", ["256Mi", "1Gi", "4Gi", "1500M", "2G", "1073741824", "0.5Gi"])
@pytest.mark.parametrize("pods", [1, 2, 4, 10])
def test_the_pools_of_all_pods_and_a_surge_pod_fit_the_database(memory: str, pods: int) -> None:
    connections_of_a_pod = connection_pools.pool_size(memory, pods) + 1
    assert (pods + 1) * connections_of_a_pod + 6 <= connection_pools.max_connections(memory)


def test_few_pods_have_pools_of_the_default_size() -> None:
    assert connection_pools.pool_size("256Mi", 1) == connection_pools.DEFAULT_POOL_SIZE


def test_too_many_pods_have_pools_of_one_connection() -> None:
    assert connection_pools.pool_size("256Mi", 100) == 1


@pytest.mark.parametrize("memory", ["64Mi", "1e9", "plenty"])
def test_a_database_has_at_least_forty_connections(memory: str) -> None:
    assert connection_pools.max_connections(memory) == 40
