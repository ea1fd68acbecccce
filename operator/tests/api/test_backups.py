"""What the API server itself refuses of PlatformBackups, message by message, and what it stores of their status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from platform_operator.api.backups import PLATFORM_BACKUP, BackupPhase, BackupReason
from platform_operator.api.crd_generator import backup_crd
from platform_operator.api.kinds import CRD, Manifest
from platform_operator.backups.observed import JobState, observe_backup
from platform_operator.backups.status import Outcome, describe, status_manifest
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError
from platform_operator.status.backups import BackupRun

pytestmark = pytest.mark.cluster

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DISK = {"volume": {"claimName": "disk"}}
KEY = {"name": "key"}


def backup(name: str = "now", **spec: Any) -> Manifest:
    metadata = {"name": name}
    kind = PLATFORM_BACKUP
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        "spec": {"platform": "shop"} | spec,
    }


@pytest.fixture(scope="module")
async def definition(client: KubernetesClient, established: Callable[[str], Awaitable[None]]) -> None:
    await client.apply(CRD, "", backup_crd(), manager="operator-api-tests")
    await established(backup_crd()["metadata"]["name"])


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            backup(destination=DISK),
            "destination and encryptionKeySecretRef belong together: write both, or neither for those of the shop's "
            "spec.backup",
        ),
        (
            backup(encryptionKeySecretRef=KEY),
            "destination and encryptionKeySecretRef belong together: write both, or neither for those of the shop's "
            "spec.backup",
        ),
        (
            backup(destination={}, encryptionKeySecretRef=KEY),
            "destination must have exactly one of s3 and volume: remove one, or write one",
        ),
        (
            backup("a" * 41),
            "metadata.name must have at most 40 letters, digits and -, since a Job is named after it: write for "
            "example before-the-sale",
        ),
        ({**backup(), "spec": {}}, "spec.platform: Required value"),
    ],
)  # fmt: skip
async def test_a_wrong_backup_is_refused_with_advice(
    client: KubernetesClient, definition: None, namespace: str, manifest: Manifest, message: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await client.create(PLATFORM_BACKUP, namespace, manifest)
    assert refused.value.status == 422
    assert message in str(refused.value)


async def test_the_spec_of_a_backup_cannot_be_changed(
    client: KubernetesClient, definition: None, namespace: str
) -> None:
    await client.create(PLATFORM_BACKUP, namespace, backup())
    with pytest.raises(ApiError) as refused:
        await client.overwrite(PLATFORM_BACKUP, namespace, "now", {"spec": {"platform": "other"}})
    assert "the spec of a PlatformBackup cannot be changed: create another PlatformBackup" in str(refused.value)


async def test_the_whole_status_is_stored(client: KubernetesClient, definition: None, namespace: str) -> None:
    stored = observe_backup(await client.create(PLATFORM_BACKUP, namespace, backup()))
    run = BackupRun("create", "backup-now", NOW, "20260101T120000Z-a1b2c3", NOW, 5000)
    job = JobState("create", NOW, NOW, "")
    outcome = Outcome(BackupPhase.SUCCEEDED, BackupReason.SUCCEEDED, "Whole.", job, run)
    status = describe(stored, outcome, "backup-now", NOW)
    answer = await client.apply(PLATFORM_BACKUP, namespace, status_manifest(stored, status), "status")
    assert answer["status"] == status, "the schema has every field"
