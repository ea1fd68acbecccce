"""Each service gets its own gRPC tokens; a running shop requires them once every service sends one."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from platform_operator.api.kinds import ANNOTATION_REPLACES_WITHOUT_TOKENS, ObjectId, PlatformKey
from platform_operator.api.spec import NEIGHBOURS, SERVICES, parse
from platform_operator.cache.observed import ObservedObject, ObservedState, StoredData, Workload
from platform_operator.plan.inventory import AppliedObject, Inventory
from platform_operator.secrets.caller_tokens import (
    grpc_authentication,
    replaced_version,
)
from platform_operator.secrets.credentials import derived_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls

KEY = PlatformKey("shops", "shop")
TLS = StoreTls(frozenset(), "", datetime(2026, 11, 29, tzinfo=UTC))
SECRETS = [ObjectId("Secret", f"shop-{name}-grpc") for name in SERVICES]
APPLIED = Inventory(objects={identity: AppliedObject(0, "d", "o") for identity in SECRETS})


def data_of_all(version: str = "") -> dict[str, dict[str, dict[str, str]]]:
    """Returns the pairs of each service's Secret, by service and variable."""
    made = derived_secrets(KEY, parse({}), KeyRing(MasterKey(b"k" * 32)), TLS, version).values()
    return {
        one.id.name.removeprefix("shop-").removesuffix("-grpc"): {
            name: dict(pair.split("=") for pair in base64.b64decode(value).decode().split(","))
            for name, value in one.manifest["data"].items()
        }
        for one in made
        if one.id.name.endswith("-grpc")
    }


def test_a_service_has_a_token_for_each_neighbour_and_the_digests_of_its_callers() -> None:
    data = data_of_all()

    assert data.keys() == NEIGHBOURS.keys()
    for service, neighbours in NEIGHBOURS.items():
        tokens, digests = data[service].get("GRPC_TOKENS", {}), data[service].get("GRPC_CALLERS", {})
        assert tuple(tokens) == neighbours
        assert digests == {
            caller: hashlib.sha256(data[caller]["GRPC_TOKENS"][service].encode()).hexdigest()
            for caller in SERVICES
            if service in NEIGHBOURS[caller]
        }


def test_no_two_pairs_of_services_share_a_token() -> None:
    tokens = [token for data in data_of_all().values() for token in data.get("GRPC_TOKENS", {}).values()]

    assert len(tokens) == len(set(tokens)) == sum(map(len, NEIGHBOURS.values()))


def observed(states: Mapping[ObjectId, tuple[str, ObservedState]]) -> dict[ObjectId, ObservedObject]:
    return {
        identity: ObservedObject(identity, "u", 1, "fields", version, False, state)
        for identity, (version, state) in states.items()
    }


def deployments(version: str, *, old_pods: int = 0, current: bool = True) -> dict[ObjectId, ObservedObject]:
    """Returns the Deployments of all services; order still has `old_pods` of the version before."""
    return observed(
        {
            ObjectId("Deployment", f"shop-{name}"): (
                version,
                Workload(1, 1 + (old_pods if name == "order" else 0), 1, 1, current or name != "order"),
            )
            for name in SERVICES
        }
    )


def one_not_replaced() -> dict[ObjectId, ObservedObject]:
    order = ObjectId("Deployment", "shop-order")
    return deployments("v2") | {order: deployments("v1")[order]}


def token_secrets(replaces: str = "") -> dict[ObjectId, ObservedObject]:
    annotations = {ANNOTATION_REPLACES_WITHOUT_TOKENS: replaces} if replaces else {}
    return observed({identity: ("", StoredData({}, annotations, {}, ())) for identity in SECRETS})


def test_a_new_shop_requires_tokens_at_once() -> None:
    assert replaced_version(KEY, {}, Inventory()) == ""


def test_a_shop_from_before_tokens_is_remembered_by_its_version() -> None:
    assert replaced_version(KEY, deployments("v1"), Inventory()) == "v1"


@pytest.mark.parametrize(
    "running",
    [
        deployments("v1"),
        one_not_replaced(),
        deployments("v2", old_pods=1),
        deployments("v2", current=False),
    ],
    ids=["pinned to the old version", "one not replaced", "an old pod left", "not begun"],
)
def test_tokens_stay_optional_while_a_service_without_tokens_may_run(running: dict[ObjectId, ObservedObject]) -> None:
    assert replaced_version(KEY, running | token_secrets("v1"), APPLIED) == "v1"


def test_tokens_are_required_once_every_service_is_replaced() -> None:
    assert replaced_version(KEY, deployments("v2") | token_secrets("v1"), APPLIED) == ""


def test_later_rollouts_and_lost_secrets_do_not_make_tokens_optional_again() -> None:
    assert replaced_version(KEY, deployments("v3", old_pods=1) | token_secrets(), APPLIED) == ""
    assert replaced_version(KEY, deployments("v3", old_pods=1), APPLIED) == ""


@pytest.mark.parametrize(
    ("settings", "replaced", "expected"),
    [
        ({}, "", "required"),
        ({}, "v1", "optional"),
        ({"grpcAuthentication": "optional"}, "", "optional"),
        ({"grpcAuthentication": "required"}, "v1", "required"),
    ],
)
def test_the_spec_decides_before_the_observed_version(settings: dict[str, str], replaced: str, expected: str) -> None:
    assert grpc_authentication(parse({"settings": settings}), replaced) == expected


def test_the_secrets_remember_the_version_and_no_other_secret_does() -> None:
    made = derived_secrets(KEY, parse({}), KeyRing(MasterKey(b"k" * 32)), TLS, "v1").values()
    annotated = {
        one.id.name for one in made if ANNOTATION_REPLACES_WITHOUT_TOKENS in one.manifest["metadata"]["annotations"]
    }

    assert annotated == {identity.name for identity in SECRETS}
