"""The API server stores objects again when the operator migrates them, and lets a former version go after that.

The definition is one of the test's own: the operator of the cluster reconciles nothing of it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client.api_client import ApiClient

from platform_operator.api.kinds import CRD, Kind, Manifest
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.stored_versions import StorageVersionMigrator

pytestmark = pytest.mark.cluster

GROUP = f"test-{secrets.token_hex(3)}.ecommerce.dev"
KIND = Kind(f"{GROUP}/v1beta1", "Migrated", "migrateds")
NAME = f"migrateds.{GROUP}"


def definition(*versions: str) -> Manifest:
    """Returns a definition that stores the first of the versions."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": "Migrated", "plural": "migrateds", "singular": "migrated"},
            "versions": [
                {"name": name, "served": True, "storage": name == versions[0], "schema": schema} for name in versions
            ],
        },
    }


@pytest.fixture
async def server(connection: ApiClient) -> AsyncIterator[KubernetesClient]:
    client = KubernetesClient(connection)
    yield client
    stored = await client.get(CRD, "", NAME)
    if stored is not None:
        await client.delete(CRD, "", NAME, stored["metadata"]["uid"])


async def served(client: KubernetesClient, version: str) -> Kind:
    """Waits until the API server serves a version."""
    kind = Kind(f"{GROUP}/{version}", KIND.kind, KIND.plural)
    async with asyncio.timeout(30):
        while True:
            try:
                await client.list(kind, "default")
            except ApiError as error:
                if error.status != 404 and not error.transient:  # its storage is made again for another version
                    raise
                await asyncio.sleep(0.1)
            else:
                return kind


async def test_a_former_version_can_be_removed_after_the_migration(server: KubernetesClient) -> None:
    await server.apply(CRD, "", definition("v1alpha1"))
    old = await served(server, "v1alpha1")
    manifest = {"apiVersion": old.api_version, "kind": "Migrated", "metadata": {"name": "shop"}, "spec": {"a": 1}}
    before = await server.create(old, "default", manifest)
    await server.apply(CRD, "", definition("v1beta1", "v1alpha1"))
    await served(server, "v1beta1")
    with pytest.raises(ApiError, match="storedVersions"):
        await server.apply(CRD, "", definition("v1beta1"))

    await StorageVersionMigrator(server, kind=KIND).migrate()

    stored = await server.get(CRD, "", NAME)
    assert stored is not None
    assert stored["status"]["storedVersions"] == ["v1beta1"]
    after = await server.get(KIND, "default", "shop")
    assert after is not None
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"]), "it was stored again"
    assert (after["spec"], after["metadata"]["generation"]) == ({"a": 1}, before["metadata"]["generation"])
    await server.apply(CRD, "", definition("v1beta1"))
