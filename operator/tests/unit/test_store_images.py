"""The images that a shop's builtin stores keep."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from platform_operator.api.kinds import ObjectId, PlatformKey
from platform_operator.api.spec import parse
from platform_operator.cache.observed import ObservedObject, Platform
from platform_operator.render.renderer import chart_images
from platform_operator.render.store_images import StoreImages, kept_images
from platform_operator.render.values import Installation, chart_values

KEY = PlatformKey("shop", "shop")
RELEASE = StoreImages("postgres:18", "redis:9", "rabbitmq:5-management")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def images(spec: dict[str, Any], status: dict[str, Any], **versions: str) -> StoreImages:
    """Returns the images of a shop whose StatefulSets have these versions."""
    platform = Platform(KEY, "uid", 1, 1, False, spec, status)
    names = {f"shop-{name.replace('_', '-')}": version for name, version in versions.items()}
    seen = [ObservedObject(ObjectId("StatefulSet", name), "uid", 1, "", at, False, None) for name, at in names.items()]
    return kept_images(platform, parse(spec), {one.id: one for one in seen}, RELEASE)


def test_a_new_shop_gets_the_images_of_the_release() -> None:
    assert images({}, {}) == RELEASE


def test_a_store_keeps_its_image_until_the_spec_names_another() -> None:
    status = {"storeImages": {"databases": "postgres:17", "cache": "redis:8", "broker": "rabbitmq:4-management"}}
    assert images({}, status) == ("postgres:17", "redis:8", "rabbitmq:4-management")
    spec = {"databases": {"image": "postgres:17.6"}, "cache": {"image": "redis:9"}, "broker": {"image": "rabbitmq:5"}}
    assert images(spec, status) == ("postgres:17.6", "redis:9", "rabbitmq:5")


def test_a_shop_of_a_release_that_recorded_no_images_keeps_the_versions_that_run() -> None:
    kept = images({}, {}, order_db="17", redis="8", rabbitmq="4-management")
    assert kept == ("postgres:17", "redis:8", "rabbitmq:4-management")
    assert images({}, {}, redis="8") == ("postgres:18", "redis:8", "rabbitmq:5-management")


def test_the_charts_get_the_images_of_all_stores() -> None:
    made = chart_values(KEY, parse({}), Installation("1"), "small", images=RELEASE)
    assert {made[store]["image"] for store in made if store.endswith("-db")} == {"postgres:18"}
    assert (made["redis"]["image"], made["rabbitmq"]["image"]) == ("redis:9", "rabbitmq:5-management")
    assert "image" not in chart_values(KEY, parse({}), Installation("1"), "small")["redis"], "the charts' own"


def test_the_images_of_a_release_are_those_of_its_charts(charts: Path) -> None:
    stores = ("postgres", "redis", "rabbitmq")
    assert chart_images(charts / "platform") == tuple(
        yaml.safe_load((charts / store / "values.yaml").read_text())["image"] for store in stores
    )
