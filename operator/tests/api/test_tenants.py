"""What the API server itself refuses of Tenants, their plans, and the shops of tenants: message by message."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes.aio.client.api_client import ApiClient

from platform_operator.api.admission import ADMISSION_POLICY, admission_policy, secret_binding, secret_policy
from platform_operator.api.crd_generator import tenant_crd, tenant_plan_crd
from platform_operator.api.kinds import CRD, FIELD_MANAGER, GROUP, LABEL_MANAGED_BY, PLATFORM, Kind, Manifest
from platform_operator.api.schema import parse_stored
from platform_operator.api.tenants import TENANT, TENANT_PLAN, TenantPlanSpec, TenantSpec
from platform_operator.client import KubernetesClient, connect
from platform_operator.errors import ApiError
from platform_operator.tenants.objects import (
    ADMISSION_BINDING,
    NAMESPACE,
    TENANT_OBJECT_KINDS,
    shop_manifest,
    tenant_objects,
)
from platform_operator.tenants.observed import Tenant, observe_plan

pytestmark = pytest.mark.cluster

POLICY = Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
ROLE = Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles")
SECRET = Kind("v1", "Secret", "secrets")
KINDS = {kind.kind: kind for kind in TENANT_OBJECT_KINDS}
MANAGER = "operator-api-tests"
ADMIN = "tenant-admin@example.com"


def manifest(kind: Kind, name: str, **content: Any) -> Manifest:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, **content}


async def patch(connection: ApiClient, path: str, body: Manifest, verb: str = "PATCH") -> str:
    """Sends a merge patch, or another write, that is not stored. Returns the message of the refusal; empty if there is
    none."""
    content_type = "application/merge-patch+json" if verb == "PATCH" else "application/json"
    headers = {"Content-Type": content_type, "Accept": "application/json"}
    request = await connection.param_serialize(
        verb, path, query_params=[("dryRun", "All")], header_params=headers, auth_settings=["BearerToken"]
    )
    response = await connection.call_api(request[0], request[1], request[2], body)
    text = (await response.read()).decode()  # type: ignore[no-untyped-call]
    return "" if response.status < 300 else text


@pytest.fixture(scope="module")
async def kinds(client: KubernetesClient, established: Callable[[str], Awaitable[None]]) -> AsyncIterator[None]:
    """The definitions of Tenant and TenantPlan, and the policies for their shops.

    The definitions stay, as those of platforms do: deleting one deletes every object of its kind. Policies that were
    there before, those of an installed operator, stay too.
    """
    definitions = (tenant_crd(), tenant_plan_crd())
    policies = [(POLICY, admission_policy()), (POLICY, secret_policy()), (ADMISSION_BINDING, secret_binding())]
    made = [(kind, one) for kind, one in policies if await client.get(kind, "", one["metadata"]["name"]) is None]
    for kind, one in [*((CRD, definition) for definition in definitions), *policies]:
        await client.apply(kind, "", one, manager=MANAGER)
    for definition in definitions:
        await established(definition["metadata"]["name"])
    yield
    for kind, one in made:
        stored = await client.get(kind, "", one["metadata"]["name"])
        if stored is not None:
            await client.delete(kind, "", one["metadata"]["name"], stored["metadata"]["uid"])


@pytest.fixture
async def tenant(client: KubernetesClient, kinds: None) -> AsyncIterator[str]:
    """The namespace of a tenant whose admins may set the settings and the profile, up to medium."""
    name = f"operator-api-{secrets.token_hex(3)}"
    rules = [
        {"apiGroups": [GROUP], "resources": [PLATFORM.plural], "verbs": ["get", "create", "update", "patch", "delete"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "patch"]},
    ]
    await client.apply(ROLE, "", manifest(ROLE, name, rules=rules), manager=MANAGER)
    plan_spec = {
        "allowedFields": ["profile", "settings"],
        "maxProfile": "medium",
        "quota": {"pods": "0"},
        "defaults": {"version": "1.0"},
    }
    stored_plan = await client.apply(TENANT_PLAN, "", manifest(TENANT_PLAN, name, spec=plan_spec), manager=MANAGER)
    spec = parse_stored(TenantSpec, {"planRef": {"name": name}, "admins": [{"kind": "User", "name": ADMIN}]})
    plan, rules_of_plan = observe_plan(stored_plan), parse_stored(TenantPlanSpec, stored_plan["spec"])
    of = Tenant(name, "", 1, 1, datetime.now(UTC), {}, {}, {}, (), None)
    for one in tenant_objects(of, spec, plan, rules_of_plan, name):
        await client.apply(KINDS[one["kind"]], one["metadata"].get("namespace", ""), one, manager=MANAGER)
    await client.apply(PLATFORM, name, shop_manifest(of, spec, rules_of_plan, {}), manager=MANAGER)
    yield name
    for kind in (NAMESPACE, TENANT_PLAN, ROLE):
        made = await client.get(kind, "", name)
        if made is not None:
            await client.delete(kind, "", name, made["metadata"]["uid"])
    made = await client.get(ADMISSION_BINDING, "", f"{ADMISSION_POLICY}-{name}")
    if made is not None:
        await client.delete(ADMISSION_BINDING, "", made["metadata"]["name"], made["metadata"]["uid"])


@pytest.fixture
async def admin() -> AsyncIterator[ApiClient]:
    """A connection of the tenant's admin."""
    async with await connect() as connection:
        connection.default_headers["Impersonate-User"] = ADMIN
        yield connection


async def test_an_admin_of_a_tenant_sets_what_the_plan_allows_and_nothing_else(
    connection: ApiClient, admin: ApiClient, tenant: str
) -> None:
    path = PLATFORM.path(tenant, "shop")
    forbidden = {"spec": {"version": "2.0"}}
    for _ in range(100):  # the API server takes some time to load a policy, and tells no one when it has
        if await patch(admin, path, forbidden):
            break
        await asyncio.sleep(0.3)

    assert await patch(admin, path, {"spec": {"settings": {"currencies": ["EUR"]}}}) == ""
    assert await patch(admin, path, {"spec": {"profile": "medium"}}) == ""
    message = "can be changed by the platform team only: the plan of this tenant does not allow it"
    for field, value in (
        ("version", "2.0"),
        ("ingress", {"enabled": True, "host": "another.example.com"}),
        ("hibernated", True),
        ("networkPolicies", {"enabled": False}),
        ("mode", "Observe"),
        ("surge", [{"from": "2026-11-27T06:00:00Z", "until": "2026-11-28T00:00:00Z", "factor": 2}]),
    ):
        assert f"spec.{field} {message}" in await patch(admin, path, {"spec": {field: value}})
    assert "spec.profile must not exceed medium, the largest profile of the plan" in await patch(
        admin, path, {"spec": {"profile": "large"}}
    )
    annotation = {"metadata": {"annotations": {f"{GROUP}/allow-prune": "1"}}}
    assert "are set by the platform team: ask the platform team" in await patch(admin, path, annotation)
    assert await patch(admin, path, {"metadata": {"annotations": {"note": "x"}}}) == ""
    finalizer = {"metadata": {"finalizers": [f"{GROUP}/other"]}}
    assert "metadata.finalizers is the operator's" in await patch(admin, path, finalizer)
    made = "the shop of a tenant is created and deleted with its Tenant: ask the platform team"
    assert made in await patch(admin, path, {}, "DELETE")
    another = manifest(PLATFORM, "another", spec={})
    assert made in await patch(admin, PLATFORM.path(tenant), another, "POST")
    assert await patch(connection, path, forbidden) == "", "the platform team may change everything"


async def test_an_admin_of_a_tenant_makes_no_secret_that_others_trust_or_that_holds_the_namespace(
    connection: ApiClient, client: KubernetesClient, admin: ApiClient, tenant: str
) -> None:
    def secret(type_: str = "Opaque", **metadata: Any) -> Manifest:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tenant-smtp", **metadata}, "type": type_}

    path, labelled = SECRET.path(tenant), secret(labels={LABEL_MANAGED_BY: FIELD_MANAGER})
    for _ in range(100):  # the API server takes some time to load a policy, and tells no one when it has
        if await patch(admin, path, labelled, "POST"):
            break
        await asyncio.sleep(0.3)

    assert "is for Secrets that the operator makes: remove it" in await patch(admin, path, labelled, "POST")
    annotated = secret(annotations={f"{GROUP}/generation": "1"})
    assert "are for Secrets that the operator makes: remove them" in await patch(admin, path, annotated, "POST")
    token = secret("kubernetes.io/service-account-token", annotations={"kubernetes.io/service-account.name": "default"})
    assert "a Secret of a tenant must not have the type" in await patch(admin, path, token, "POST")
    held = secret(finalizers=["example.com/hold"])
    assert "metadata.finalizers is the platform team's" in await patch(admin, path, held, "POST")
    owner = {"apiVersion": PLATFORM.api_version, "kind": PLATFORM.kind, "name": "shop", "uid": "u"}
    owned = secret(ownerReferences=[owner])
    assert "metadata.ownerReferences must name no shop" in await patch(admin, path, owned, "POST")
    assert await patch(admin, path, secret(labels={"team": "x"}, annotations={"note": "x"}), "POST") == ""
    assert await patch(connection, path, labelled, "POST") == "", "the platform team may make every Secret"
    await client.create(SECRET, tenant, secret())
    stored = SECRET.path(tenant, "tenant-smtp")
    assert "metadata.finalizers is the platform team's" in await patch(admin, stored, {"metadata": held["metadata"]})
    assert await patch(admin, stored, {"metadata": {"labels": {"team": "x"}}}) == ""


@pytest.mark.parametrize(
    ("kind", "name", "spec", "message"),
    [
        (TENANT, "acme", {"planRef": {"name": "a"}, "deleteAfter": "soon"}, "deleteAfter must be a number of minutes"),
        (TENANT, "acme", {"planRef": {"name": "a"}, "host": "https://a.b"}, "host must be a DNS name without scheme"),
        (TENANT, "1acme", {"planRef": {"name": "a"}}, "metadata.name must have at most 50 letters, digits and -"),
        (TENANT, "acme", {"planRef": {"name": "a"}, "admins": [{"kind": "Robot", "name": "r"}]}, "must be User, Group"),
        (TENANT, "acme", {"planRef": {"name": "a"}, "admins": [{"kind": "ServiceAccount", "name": "r"}]}, "is needed"),
        (TENANT_PLAN, "basic", {"maxProfile": "huge"}, "maxProfile must be small, medium or large"),
        (TENANT_PLAN, "basic", {"allowedFields": ["ingress"]}, "allowedFields must have only fields that a plan can"),
        (TENANT_PLAN, "basic", {"quota": {"pods": "fifty"}}, "quota must have Kubernetes quantities"),
        (TENANT_PLAN, "basic", {"quota": {"pods": "-1"}}, "quota must have Kubernetes quantities"),
        (
            TENANT_PLAN,
            "basic",
            {"limits": {"default": {"memory": "2Gi"}, "max": {"memory": "1024Mi"}}},
            "limits.default.memory must not exceed limits.max.memory",
        ),
        (
            TENANT_PLAN,
            "basic",
            {"limits": {"defaultRequest": {"cpu": "1"}, "default": {"cpu": "500m"}}},
            "limits.defaultRequest.cpu must not exceed limits.default.cpu",
        ),
    ],
)
async def test_a_wrong_tenant_or_plan_is_refused_with_advice(
    connection: ApiClient, kinds: None, kind: Kind, name: str, spec: Manifest, message: str
) -> None:
    assert message in await patch(connection, kind.path(""), manifest(kind, name, spec=spec), "POST")


async def test_a_tenant_is_defaulted_and_accepted(client: KubernetesClient, kinds: None) -> None:
    name = f"operator-api-{secrets.token_hex(3)}"
    spec = {"planRef": {"name": "basic"}, "host": "acme.example.com", "platform": {"profile": "small"}}
    stored = await client.create(TENANT, "", manifest(TENANT, name, spec=spec))
    try:
        assert stored["spec"]["deleteAfter"] == "7d"
        assert stored["spec"]["platform"] == {"profile": "small"}
    finally:
        await client.delete(TENANT, "", name, stored["metadata"]["uid"])
    with pytest.raises(ApiError, match="planRef"):
        await client.create(TENANT, "", manifest(TENANT, name, spec={}))
