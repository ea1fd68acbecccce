"""The profiles: how large a shop is. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ContainerSize:
    """The requests of one container, and the memory it may use."""

    cpu: str
    memory: str
    memory_limit: str


@dataclass(frozen=True)
class Profile:
    """The size of a shop. `scale` is the minimum and maximum of a service's pods; if they are equal, it has no
    autoscaler. `instances` are the servers of a database that CloudNativePG runs, `nodes` those of a broker that the
    RabbitMQ cluster operator runs."""

    service: ContainerSize
    scale: tuple[int, int]
    database: ContainerSize
    database_size: str
    instances: int
    cache: ContainerSize
    broker: ContainerSize
    broker_size: str
    nodes: int


PROFILES = {
    "small": Profile(
        service=ContainerSize("50m", "112Mi", "256Mi"),
        scale=(1, 1),
        database=ContainerSize("40m", "96Mi", "256Mi"),
        database_size="1Gi",
        instances=1,
        cache=ContainerSize("20m", "32Mi", "128Mi"),
        broker=ContainerSize("100m", "224Mi", "512Mi"),
        broker_size="1Gi",
        nodes=1,
    ),
    "medium": Profile(
        service=ContainerSize("50m", "128Mi", "384Mi"),
        scale=(2, 4),
        database=ContainerSize("250m", "512Mi", "1Gi"),
        database_size="10Gi",
        instances=2,
        cache=ContainerSize("50m", "128Mi", "256Mi"),
        broker=ContainerSize("250m", "512Mi", "1Gi"),
        broker_size="5Gi",
        nodes=3,
    ),
    "large": Profile(
        service=ContainerSize("200m", "192Mi", "512Mi"),
        scale=(3, 10),
        database=ContainerSize("1", "2Gi", "4Gi"),
        database_size="50Gi",
        instances=3,
        cache=ContainerSize("100m", "512Mi", "1Gi"),
        broker=ContainerSize("500m", "1Gi", "2Gi"),
        broker_size="20Gi",
        nodes=3,
    ),
}
