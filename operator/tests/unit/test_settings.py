import pytest

from platform_operator.api.shards import Shard
from platform_operator.errors import SettingsError
from platform_operator.settings import Settings


def test_only_the_version_is_required() -> None:
    settings = Settings.from_environment({"OPERATOR_VERSION": "1.2.3"})
    assert (settings.version, settings.watch_namespaces, settings.metrics_port) == ("1.2.3", (), 9464)


def test_namespaces_and_pull_secrets_are_comma_separated_lists() -> None:
    settings = Settings.from_environment(
        {"OPERATOR_VERSION": "1", "WATCH_NAMESPACES": "a, b,", "IMAGE_PULL_SECRETS": "key,other"}
    )
    assert (settings.watch_namespaces, settings.image_pull_secrets) == (("a", "b"), ("key", "other"))


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "OPERATOR_VERSION is not set"),
        ({"OPERATOR_VERSION": "1", "METRICS_PORT": "http"}, "METRICS_PORT is 'http'"),
        ({"OPERATOR_VERSION": "1", "OPERATOR_CLASS": "Staging"}, "OPERATOR_CLASS is 'Staging'"),
        ({"OPERATOR_VERSION": "1", "SHARD": "2/2"}, "SHARD is '2/2': set it to <index>/<count>"),
        ({"OPERATOR_VERSION": "1", "SHARD": "a"}, "SHARD is 'a'"),
        ({"OPERATOR_VERSION": "1", "WORKERS": "0"}, "WORKERS is '0'"),
        ({"OPERATOR_VERSION": "1", "UPGRADE_CONCURRENCY": "0"}, "UPGRADE_CONCURRENCY is '0'"),
        ({"OPERATOR_VERSION": "1", "LOG_LEVEL": "LOUD"}, "LOG_LEVEL is 'LOUD'"),
    ],
)
def test_a_bad_variable_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.from_environment(environment)


def test_a_shard_is_an_index_and_a_count() -> None:
    assert Settings.from_environment({"OPERATOR_VERSION": "1"}).shard == Shard(0, 1)
    assert Settings.from_environment({"OPERATOR_VERSION": "1", "SHARD": "1/3"}).shard == Shard(1, 3)
