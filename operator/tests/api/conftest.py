"""A real API server: the cluster that KUBECONFIG names. No pod ever runs: namespaces are made with a quota of none."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes.aio.client.api_client import ApiClient

from platform_operator.api.crd import crd
from platform_operator.api.kinds import Kind
from platform_operator.client import Api, connect
from platform_operator.errors import ApiError

CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
NAMESPACE = Kind("v1", "Namespace", "namespaces")
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")


@pytest.fixture(scope="session")
async def client() -> AsyncIterator[ApiClient]:
    async with await connect() as connected:
        yield connected


@pytest.fixture(scope="session")
async def api(client: ApiClient) -> Api:
    """With the CRD of this tree in place."""
    api = Api(client, lambda: None)
    try:
        await api.apply(CRD, "", crd(), manager="operator-api-tests")
    except ApiError as error:
        pytest.fail(f"no cluster to test on: {error}; run make up, or name one by KUBECONFIG")
    return api


@pytest.fixture
async def namespace(api: Api) -> AsyncIterator[str]:
    name = f"operator-api-{secrets.token_hex(3)}"
    stored = await api.create(NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await api.create(QUOTA, name, quota("pods", "0"))
    yield name
    await api.delete(NAMESPACE, "", name, stored["metadata"]["uid"])


def quota(resource: str, amount: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {resource: amount}},
    }
