from collections.abc import Mapping
from typing import Any

from platform_operator.api.kinds import Key, ObjectId
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.cache.observed import Document, Observed
from platform_operator.render.renderer import Rendered
from platform_operator.secrets.credentials import ANNOTATION_KEY_ID, Keyring, credentials, kept

KEY = Key("shop", "shop")
KEYRING = Keyring(b"k" * 32)
ORDER_DB = ObjectId("Secret", "shop-order-db")


def made(spec: dict[str, Any], observed: Mapping[ObjectId, Observed] | None = None) -> dict[str, Rendered]:
    return {one.id.name: one for one in credentials(KEY, "uid-1", parse(spec), KEYRING, observed or {})}


def stored(annotations: Mapping[str, str]) -> dict[ObjectId, Observed]:
    document = Document({}, annotations, {}, ())
    return {ORDER_DB: Observed(ORDER_DB, "u", 1, "fields", "", False, document)}


def test_every_builtin_part_has_its_secret() -> None:
    assert set(made({})) == {"shop-jwt", "shop-admin", "shop-redis", "shop-rabbitmq"} | {
        f"shop-{name}-db" for name in WITH_DATABASE
    }


def test_a_lost_secret_comes_back_the_same() -> None:
    assert made({})["shop-order-db"].text == made({})["shop-order-db"].text


def test_no_two_fields_components_or_platforms_share_a_password() -> None:
    passwords = {
        KEYRING.password(Key(namespace, name), component, field)
        for namespace in "ab" for name in "ab" for component in ("order-db", "redis") for field in ("x", "y")
    }  # fmt: skip
    assert len(passwords) == 16


def test_another_master_key_gives_other_passwords_and_another_id() -> None:
    other = Keyring(b"o" * 32)
    assert other.id != KEYRING.id
    assert other.password(KEY, "redis", "password") != KEYRING.password(KEY, "redis", "password")


def test_passwords_need_no_escaping_in_a_url_and_sign_tokens_safely() -> None:
    password = KEYRING.password(KEY, "jwt", "secret")
    assert len(password) >= 32
    assert password.replace("-", "").replace("_", "").isalnum()


def test_somebody_elses_secret_is_never_written() -> None:
    assert "shop-order-db" not in made({}, stored({}))
    assert "shop-order-db" not in made({}, stored({ANNOTATION_KEY_ID: "another"}))


def test_our_own_secret_is_kept_as_derived() -> None:
    assert "shop-order-db" in made({}, stored({ANNOTATION_KEY_ID: KEYRING.id}))


def test_retained_credentials_have_no_owner() -> None:
    assert "ownerReferences" not in made({})["shop-order-db"].manifest["metadata"]
    assert (
        made({"deletionPolicy": "Delete"})["shop-order-db"].manifest["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    )


def test_credentials_are_pruned_only_under_delete_and_only_ours() -> None:
    ours, theirs = stored({ANNOTATION_KEY_ID: KEYRING.id}), stored({})
    assert kept(parse({}), ours)
    assert not kept(parse({"deletionPolicy": "Delete"}), ours)
    assert kept(parse({"deletionPolicy": "Delete"}), theirs)


def test_external_stores_get_no_secret() -> None:
    assert "shop-redis" not in made({"cache": {"provider": "external", "secretRef": {"name": "x"}}})


def test_what_is_remembered_of_a_secret_does_not_depend_on_its_values() -> None:
    other = credentials(KEY, "uid-1", parse({}), Keyring(b"o" * 32), {})
    assert made({})["shop-redis"].digest != {one.id.name: one for one in other}["shop-redis"].digest  # by the key's id
    assert KEYRING.password(KEY, "redis", "password") not in made({})["shop-redis"].digest


def test_the_master_key_does_not_show_in_a_log() -> None:
    assert "kkkk" not in repr(KEYRING)
