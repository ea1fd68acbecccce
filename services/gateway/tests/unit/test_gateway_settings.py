import pytest
from chassis.settings import ServiceSettings, SettingsError, read
from gateway_service.app import Settings
from gateway_service.clients import upstreams
from gateway_service.domain.routes import Upstream

COMPLETE = {"USER_GRPC": "user:9091"} | {f"{name.upper()}_URL": f"http://{name}:80" for name in Upstream}


def test_neither_redis_nor_a_broker_is_needed() -> None:
    assert read(Settings, COMPLETE).bases()[Upstream.ORDER] == "http://order:80"


def test_a_malformed_address_is_named() -> None:
    with pytest.raises(SettingsError, match="ORDER_URL is malformed: write http://host:port"):
        read(Settings, COMPLETE | {"ORDER_URL": "order:80"})


def test_idle_connections_are_let_go_before_a_stopping_service_closes_them() -> None:
    assert ServiceSettings().shutdown_drain_seconds > upstreams._IDLE_SECONDS
