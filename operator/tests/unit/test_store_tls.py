"""Every builtin store has TLS, unless its clients could not connect to it any more."""

import base64
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import pytest

from platform_operator.api.kinds import ANNOTATION_REPLACES_WITHOUT_TLS, Manifest, ObjectId, PlatformKey
from platform_operator.api.spec import SERVICES, WITH_BROKER, parse
from platform_operator.cache.observed import ObservedObject, ObservedState, StoredData, Workload, observe
from platform_operator.plan.inventory import AppliedObject, Inventory
from platform_operator.render.values import Installation, chart_values
from platform_operator.secrets.certificates import RENEWAL
from platform_operator.secrets.credentials import ANNOTATION_EXPIRES, derived_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls, own_stores, store_tls

KEY = PlatformKey("shops", "shop")
NOW = datetime(2026, 11, 29, 8, tzinfo=UTC)
AUTHORITY = ObjectId("Secret", "shop-ca")
EMPTY = Inventory()
ALL = frozenset(own_stores(parse({})))
DATABASES = ALL - {"redis", "rabbitmq"}
EXTERNAL_CACHE: Manifest = {"cache": {"provider": "external", "secretRef": {"name": "mine"}}}


def decide(
    version: str,
    observed: Mapping[ObjectId, ObservedObject],
    foreign: Collection[str] = (),
    spec: Manifest | None = None,
    inventory: Inventory = EMPTY,
) -> StoreTls:
    return store_tls(KEY, parse(spec or {}), version, observed, inventory, lambda one: one not in foreign, NOW)


def seen(identity: ObjectId, version: str, state: ObservedState) -> dict[ObjectId, ObservedObject]:
    return {identity: ObservedObject(identity, "u", 1, "fields", version, False, state)}


def running(version: str) -> dict[ObjectId, ObservedObject]:
    """Returns the Deployments of a shop that runs a version."""
    ready = Workload(1, 1, 1, 1, True)
    return {
        identity: one
        for service in SERVICES
        for identity, one in seen(ObjectId("Deployment", f"shop-{service}"), version, ready).items()
    }


def remembering(annotations: Mapping[str, str]) -> dict[ObjectId, ObservedObject]:
    """Returns the Secret of the authority, with what it remembers."""
    return seen(AUTHORITY, "", StoredData({}, annotations, {}, ()))


def test_a_new_shop_has_tls_from_the_start() -> None:
    assert decide("v2", {}) == StoreTls(ALL, "", NOW)


def test_a_running_shop_gets_tls_with_the_version_that_can_verify_certificates() -> None:
    assert decide("v1", running("v1")) == StoreTls(DATABASES, "v1", NOW)
    assert decide("v2", running("v1")) == StoreTls(ALL, "v1", NOW)


def test_a_rollback_to_the_version_before_tls_changes_no_database() -> None:
    observed = running("v2") | remembering({ANNOTATION_REPLACES_WITHOUT_TLS: "v1"})

    assert decide("v2", observed).stores == ALL
    assert decide("v1", observed) == StoreTls(DATABASES, "v1", NOW)
    assert decide("v0", observed).stores == ALL


def test_a_shop_that_always_had_tls_keeps_it_in_every_version_and_without_its_secret() -> None:
    lost = Inventory(objects={AUTHORITY: AppliedObject(0, "digest", "owned")})

    assert decide("v2", running("v2") | remembering({})).stores == ALL
    assert decide("v2", running("v2"), inventory=lost).stores == ALL


def test_a_version_is_compared_as_the_label_of_the_deployments_has_it() -> None:
    tag = "v1-" + "x" * 80

    assert decide(tag, running(tag[:63])).stores == DATABASES


@pytest.mark.parametrize(
    ("foreign", "plain"),
    [
        ("redis", "redis"),
        ("order-db", None),
        ("order-db-runtime", None),
        ("rabbitmq", "rabbitmq"),
        ("payment-broker", "rabbitmq"),
        ("jwt", None),
    ],
)
def test_a_secret_of_the_users_own_with_a_plain_url_keeps_its_store_plain(foreign: str, plain: str | None) -> None:
    assert decide("v2", {}, [foreign]).stores == ALL - {plain}


@pytest.mark.parametrize(("foreign", "key"), [("redis", "REDIS_CA"), ("payment-broker", "RABBITMQ_CA")])
def test_a_secret_of_the_users_own_that_names_an_authority_leads_to_tls(foreign: str, key: str) -> None:
    metadata = {"name": f"shop-{foreign}", "namespace": "shops", "uid": "u", "resourceVersion": "1"}
    data = {key: "Y2E=", "PASSWORD": "c2VjcmV0"}
    secret = observe({"kind": "Secret", "metadata": metadata, "data": data})

    assert secret.state == StoredData({key: ""}, {}, {}, ()), "no value is kept"
    assert decide("v2", {secret.id: secret}, [foreign]).stores == ALL


def test_an_external_store_is_not_the_operators_to_encrypt() -> None:
    assert decide("v2", {}, spec=EXTERNAL_CACHE).stores == ALL - {"redis"}


def data(stores: Collection[str], component: str) -> dict[str, str]:
    """Returns the content of a component's Secret, if these stores have TLS."""
    made = derived_secrets(KEY, parse({}), KeyRing(MasterKey(b"k" * 32)), StoreTls(frozenset(stores), "v1", NOW))
    secret = made[component].manifest
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


@pytest.mark.parametrize("component", ["rabbitmq", *(f"{service}-broker" for service in WITH_BROKER)])
def test_the_secrets_of_the_broker_lead_to_tls_and_name_the_authority(component: str) -> None:
    encrypted, plain = data(["rabbitmq"], component), data(["redis"], component)

    assert encrypted["RABBITMQ_URL"].startswith("amqps://")
    assert encrypted["RABBITMQ_CA"] == data([], "ca")["ca.crt"]
    assert plain == {
        name: value.replace("amqps:", "amqp:") for name, value in encrypted.items() if name != "RABBITMQ_CA"
    }


def test_the_secrets_of_cache_and_databases_lead_to_tls_and_name_the_authority() -> None:
    authority = data([], "ca")["ca.crt"]

    assert data(["redis"], "redis")["REDIS_URL"].startswith("rediss://")
    assert data(["redis"], "redis")["REDIS_CA"] == authority
    assert data([], "redis").keys() == {"REDIS_PASSWORD", "REDIS_URL"}
    for component in ("order-db", "order-db-runtime"):
        assert data(["order-db"], component)["DB_CA"] == authority
        assert "DB_CA" not in data(["redis"], component)


def test_a_renewal_changes_the_secrets_of_the_certificates_and_no_other() -> None:
    keys = KeyRing(MasterKey(b"k" * 32))
    before, after = (
        {one.id.name: one for one in derived_secrets(KEY, parse({}), keys, StoreTls(ALL, "", now)).values()}
        for now in (NOW, NOW + RENEWAL)
    )

    changed = {name for name, one in after.items() if one.digest != before[name].digest}
    assert changed == {f"shop-{store}-tls" for store in ALL}
    assert {name for name, one in after.items() if one.json != before[name].json} == changed
    assert after["shop-redis-tls"].manifest["metadata"]["annotations"][ANNOTATION_EXPIRES] > str(NOW + RENEWAL)


def test_the_authority_remembers_the_version_that_has_no_tls() -> None:
    made = derived_secrets(KEY, parse({}), KeyRing(MasterKey(b"k" * 32)), StoreTls(ALL, "v1", NOW)).values()

    remembered = {
        one.id: one.manifest["metadata"]["annotations"][ANNOTATION_REPLACES_WITHOUT_TLS]
        for one in made
        if ANNOTATION_REPLACES_WITHOUT_TLS in one.manifest["metadata"]["annotations"]
    }
    assert remembered == {AUTHORITY: "v1"}


def test_the_charts_are_told_which_own_stores_have_none() -> None:
    values = chart_values(KEY, parse({}), Installation("1"), "small", plain_stores=["redis", "order-db"])

    assert values["global"]["tls"] == {"plainStores": ["order-db", "redis"]}
    assert "tls" not in chart_values(KEY, parse({}), Installation("1"), "small")["global"]
