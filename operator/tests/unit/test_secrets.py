import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from platform_operator.api.kinds import ANNOTATION_KEY_ID, ObjectId, PlatformKey
from platform_operator.api.spec import SERVICES, WITH_BROKER, WITH_DATABASE, parse
from platform_operator.cache.observed import ObservedObject, StoredData
from platform_operator.plan.inventory import DesiredObject
from platform_operator.secrets.credentials import derived_secrets, protected_secrets, writable_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls, own_stores

KEY = PlatformKey("shop", "shop")
MASTER_KEY = MasterKey(b"k" * 32)
ORDER_DB = ObjectId("Secret", "shop-order-db")
TLS = StoreTls(frozenset(own_stores(parse({}))), "", datetime(2026, 11, 29, tzinfo=UTC))


def secrets(
    spec: dict[str, Any], observed: Mapping[ObjectId, ObservedObject] | None = None
) -> dict[str, DesiredObject]:
    keys = KeyRing(MASTER_KEY)
    derived = derived_secrets(KEY, parse(spec), keys, TLS)
    return {one.id.name: one for one in writable_secrets(KEY, derived, keys, observed or {})}


def stored(annotations: Mapping[str, str]) -> dict[ObjectId, ObservedObject]:
    document = StoredData({}, annotations, {}, ())
    return {ORDER_DB: ObservedObject(ORDER_DB, "u", 1, "fields", "", False, document)}


def test_every_builtin_part_has_its_secret() -> None:
    assert set(secrets({})) == {
        *("shop-ca", "shop-jwt", "shop-admin", "shop-redis", "shop-rabbitmq"),
        *(f"shop-{store}-tls" for store in own_stores(parse({}))),
        *(f"shop-{name}-db" for name in WITH_DATABASE),
        *(f"shop-{name}-db-runtime" for name in WITH_DATABASE),
        *(f"shop-{name}-grpc" for name in SERVICES),
        *(f"shop-{name}-broker" for name in WITH_BROKER),
    }


def test_each_service_gets_a_role_that_is_not_the_owner_of_its_database() -> None:
    made = secrets({})
    passwords = set()
    for name in WITH_DATABASE:
        owner, runtime = (decoded(made[f"shop-{name}-{kind}"]) for kind in ("db", "db-runtime"))
        assert runtime["DB_USER"] == f"{owner['DB_USER']}_runtime"
        assert all(runtime[key] == owner[key] for key in ("DB_HOST", "DB_PORT", "DB_NAME"))
        passwords |= {owner["DB_PASSWORD"], runtime["DB_PASSWORD"]}
    assert len(passwords) == 2 * len(WITH_DATABASE)


def test_external_databases_have_no_derived_roles() -> None:
    external = {name: {"secretRef": {"name": name}} for name in WITH_DATABASE}
    made = secrets({"databases": {"provider": "external", "external": external}})
    assert not [name for name in made if "-db" in name]


def decoded(secret: DesiredObject) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in secret.manifest["data"].items()}


def test_each_service_gets_a_broker_user_of_its_own() -> None:
    made = secrets({})
    data = {name: made[f"shop-{name}-broker"].manifest["data"] for name in WITH_BROKER}
    urls = {name: urlsplit(base64.b64decode(one["RABBITMQ_URL"]).decode()) for name, one in data.items()}
    assert {name: url.username for name, url in urls.items()} == {name: name for name in WITH_BROKER}
    for name, url in urls.items():
        assert url.password == base64.b64decode(data[name]["RABBITMQ_PASSWORD"]).decode()
    administrator = base64.b64decode(made["shop-rabbitmq"].manifest["data"]["RABBITMQ_PASSWORD"]).decode()
    assert len({administrator, *(url.password for url in urls.values())}) == len(WITH_BROKER) + 1


def test_an_external_broker_has_no_derived_users() -> None:
    made = secrets({"broker": {"provider": "external", "secretRef": {"name": "x"}}})
    assert not [name for name in made if name.endswith(("-broker", "-rabbitmq"))]


def test_a_lost_secret_comes_back_the_same() -> None:
    assert secrets({})["shop-order-db"].json == secrets({})["shop-order-db"].json


def test_no_two_fields_components_or_platforms_share_a_password() -> None:
    passwords = {
        MASTER_KEY.password(PlatformKey(namespace, name), component, field)
        for namespace in "ab" for name in "ab" for component in ("order-db", "redis") for field in ("x", "y")
    }  # fmt: skip
    assert len(passwords) == 16


def test_another_master_key_gives_other_passwords_and_another_id() -> None:
    other = MasterKey(b"o" * 32)
    assert other.id != MASTER_KEY.id
    assert other.password(KEY, "redis", "password") != MASTER_KEY.password(KEY, "redis", "password")


def test_passwords_need_no_escaping_in_a_url_and_sign_tokens_safely() -> None:
    password = MASTER_KEY.password(KEY, "jwt", "secret")
    assert len(password) >= 32
    assert password.replace("-", "").replace("_", "").isalnum()


def test_a_foreign_secret_is_never_written() -> None:
    assert "shop-order-db" not in secrets({}, stored({}))
    assert "shop-order-db" not in secrets({}, stored({ANNOTATION_KEY_ID: "another"}))


def test_a_derived_secret_is_applied_again() -> None:
    assert "shop-order-db" in secrets({}, stored({ANNOTATION_KEY_ID: MASTER_KEY.id}))


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_no_owner_takes_credentials_away(policy: str) -> None:
    made = secrets({"deletionPolicy": policy}).values()
    assert [one.id for one in made if "ownerReferences" in one.manifest["metadata"]] == []


def test_only_derived_secrets_are_pruned_and_only_under_delete() -> None:
    derived, foreign = stored({ANNOTATION_KEY_ID: MASTER_KEY.id}), stored({})
    assert protected_secrets(KEY, parse({}), derived)
    assert not protected_secrets(KEY, parse({"deletionPolicy": "Delete"}), derived)
    assert protected_secrets(KEY, parse({"deletionPolicy": "Delete"}), foreign)


def test_the_password_of_a_volume_stays_when_its_database_becomes_external() -> None:
    external = {name: {"secretRef": {"name": "own"}} for name in WITH_DATABASE}
    spec = parse({"deletionPolicy": "Delete", "databases": {"provider": "external", "external": external}})
    assert protected_secrets(KEY, spec, stored({ANNOTATION_KEY_ID: MASTER_KEY.id})) == {ORDER_DB}


def test_an_external_store_has_no_derived_secret() -> None:
    assert "shop-redis" not in secrets({"cache": {"provider": "external", "secretRef": {"name": "x"}}})


def test_the_digest_of_a_secret_does_not_depend_on_its_values() -> None:
    other = derived_secrets(KEY, parse({}), KeyRing(MasterKey(b"o" * 32)), TLS)
    assert secrets({})["shop-redis"].digest != other["redis"].digest  # by the key's id
    assert MASTER_KEY.password(KEY, "redis", "password") not in secrets({})["shop-redis"].digest


def test_the_repr_of_the_master_key_hides_it() -> None:
    assert "kkkk" not in repr(MASTER_KEY)
