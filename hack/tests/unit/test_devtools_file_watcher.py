"""A change of files is mapped to the services that it concerns."""

from pathlib import PurePath

import pytest
from devtools.file_watcher import Change, change

SERVICES = ("gateway", "order", "user")
ALL = frozenset(SERVICES)


@pytest.mark.parametrize(
    ("path", "concerned"),
    [
        ("services/order/order_service/handlers/http.py", {"order"}),
        ("services/order/order_service/invariants.sql", {"order"}),
        ("services/gateway/gateway_service/domain/routes.py", {"gateway"}),
        ("services/chassis/chassis/database.py", ALL),
        ("proto/shopapi/order/v1/order_pb2.py", ALL),
        ("proto/shopapi/topology.toml", ALL),
        ("services/order/tests/unit/test_order_domain.py", set()),
        ("services/order/pyproject.toml", set()),
        ("services/chassis/tests/unit/test_chassis_http.py", set()),
        ("services/order/order_service/__pycache__/app.cpython-311.pyc", set()),
        ("services/order/order_service/.app.py.swp", set()),
        ("proto/shopapi/order/v1/order.proto", set()),
        ("services/coupon/coupon_service/app.py", set()),
    ],
)
def test_a_change_concerns_the_services_that_run_the_changed_code(path: str, concerned: set[str]) -> None:
    assert change([PurePath(path)], SERVICES) == Change(frozenset(concerned))


def test_simultaneous_changes_concern_all_their_services() -> None:
    paths = ["services/order/order_service/app.py", "services/user/user_service/app.py"]

    assert change(map(PurePath, paths), SERVICES).of == {"order", "user"}


def test_a_new_migration_is_reported() -> None:
    path = PurePath("services/order/order_service/migrations/versions/0009_gifts.py")

    assert change([path], SERVICES) == Change(frozenset({"order"}), frozenset({"order"}))
