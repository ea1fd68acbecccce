import pytest
from chassis.errors import SettingsError
from chassis.settings import ServiceSettings, read
from gateway_service.clients import upstream_client
from gateway_service.domain.routes import Upstream
from gateway_service.settings import Settings

COMPLETE = {"USER_GRPC": "user:9091", "GRPC_TOKENS": f"user={'t' * 32}", "REDIS_URL": "redis://redis:6379/0"} | {
    f"{name.upper()}_URL": f"http://{name}:80" for name in Upstream
}


def test_each_service_has_a_url() -> None:
    assert read(Settings, COMPLETE).base_urls() == {upstream: f"http://{upstream}:80" for upstream in Upstream}


@pytest.mark.parametrize("missing", sorted(COMPLETE))
def test_a_missing_setting_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=f"{missing} is not set"):
        read(Settings, {name: value for name, value in COMPLETE.items() if name != missing})


@pytest.mark.parametrize(("name", "value"), [("RATE_LIMITS", "auth=fast"), ("TRUSTED_PROXIES", "10.0.0.1/8")])
def test_malformed_quotas_and_networks_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is malformed"):
        read(Settings, COMPLETE | {name: value})


def test_a_malformed_url_is_named() -> None:
    with pytest.raises(SettingsError, match="ORDER_URL is malformed: write http://host:port"):
        read(Settings, COMPLETE | {"ORDER_URL": "order:80"})


def test_idle_connections_are_closed_before_a_stopping_service_closes_them() -> None:
    assert ServiceSettings().shutdown_drain_seconds > upstream_client._IDLE_SECONDS
