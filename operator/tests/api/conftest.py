"""A real API server: the cluster that KUBECONFIG names.

No pod ever runs, since each namespace has a quota of no pods.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from kubernetes.aio.client.api_client import ApiClient

from platform_operator.api.admission import chart_policies
from platform_operator.api.crd_generator import crd
from platform_operator.api.kinds import CRD, GROUP, Kind
from platform_operator.client import KubernetesClient, connect
from platform_operator.errors import ApiError
from platform_operator.tenants.objects import ADMISSION_BINDING

POLICY = Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
NAMESPACE = Kind("v1", "Namespace", "namespaces")
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")


@pytest.fixture(scope="session")
async def connection() -> AsyncIterator[ApiClient]:
    async with await connect() as connected:
        yield connected


@pytest.fixture(scope="session")
async def client(connection: ApiClient) -> KubernetesClient:
    """A client of a cluster that has the CustomResourceDefinition of this working tree."""
    client = KubernetesClient(connection)
    try:
        await client.apply(CRD, "", crd(), manager="operator-api-tests")
    except ApiError as error:
        pytest.fail(f"there is no cluster to test on: {error}; run make up, or set KUBECONFIG")
    return client


@pytest.fixture(scope="session", autouse=True)
async def _what_was_installed_stays(client: KubernetesClient) -> AsyncIterator[None]:
    """Fails where a test deletes what an installed operator needs: its definitions and its policies."""
    before = await _installed(client)
    yield
    assert before <= await _installed(client), "a test deleted what was on the cluster before it"


async def _installed(client: KubernetesClient) -> set[tuple[str, str]]:
    of_policies = {one["metadata"]["name"] for one in chart_policies()["items"]}
    return {
        (kind.kind, name)
        for kind in (CRD, POLICY, ADMISSION_BINDING)
        for one in (await client.list(kind, None))[0]
        if (name := one["metadata"]["name"]) in of_policies or name.endswith(f".{GROUP}")
    }


@pytest.fixture(scope="session")
def established(client: KubernetesClient) -> Callable[[str], Awaitable[None]]:
    """Returns a function that waits until the API server serves the kind of a definition."""

    async def wait(name: str) -> None:
        for _ in range(100):
            stored = await client.get(CRD, "", name) or {}
            conditions = stored.get("status", {}).get("conditions", ())
            if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
                return
            await asyncio.sleep(0.2)
        pytest.fail(f"{name} is not established")

    return wait


@pytest.fixture
async def namespace(client: KubernetesClient) -> AsyncIterator[str]:
    name = f"operator-api-{secrets.token_hex(3)}"
    stored = await client.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await client.create(QUOTA, name, quota("pods", "0"))
    yield name
    await client.delete(NAMESPACE, "", name, stored["metadata"]["uid"])


def quota(resource: str, amount: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {resource: amount}},
    }
