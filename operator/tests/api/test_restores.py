"""What the API server itself refuses of PlatformRestores, message by message, and what it keeps of their status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from platform_operator.api.backups import PLATFORM_RESTORE, Destination, RestorePhase, RestoreReason
from platform_operator.api.crd_generator import restore_crd
from platform_operator.api.kinds import CRD, Manifest
from platform_operator.backups.objects import Source, Target
from platform_operator.backups.observed import observe_backup
from platform_operator.backups.restore_status import (
    RestoreOutcome,
    describe_restore,
    recorded_source,
    status_manifest,
)
from platform_operator.client import KubernetesClient
from platform_operator.errors import ApiError

pytestmark = pytest.mark.cluster

EXACTLY_ONE = (
    "exactly one of backup and source says what is restored: write backup with the name of a PlatformBackup, or source "
    "with the place of a backup"
)


def restore(name: str = "now", **spec: Any) -> Manifest:
    kind = PLATFORM_RESTORE
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name},
        "spec": {"platform": "shop"} | spec,
    }


@pytest.fixture(scope="module")
async def definition(client: KubernetesClient, established: Callable[[str], Awaitable[None]]) -> None:
    await client.apply(CRD, "", restore_crd(), manager="operator-api-tests")
    await established(restore_crd()["metadata"]["name"])


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (restore(), EXACTLY_ONE),
        (restore(backup="before", source={}), EXACTLY_ONE),
        (
            restore(source={"encryptionKeySecretRef": {"name": "key"}}),
            "source.destination and source.encryptionKeySecretRef belong together: write both, or neither for those of "
            "the shop's spec.backup",
        ),
        (
            restore(source={"shop": "market"}),
            "source.shop must be <namespace>/<name> of the shop that was backed up: write for example market/market",
        ),
        (
            restore(source={"id": "yesterday"}),
            "source.id must be the id of a backup: write for example 20260131T030000.000000Z-a1b2c3, or remove it for "
            "the newest one",
        ),
        (
            restore(backup="before", deadlineSeconds=59),
            "spec.deadlineSeconds in body should be greater than or equal to 60",
        ),
        (
            restore("a" * 41, backup="before"),
            "metadata.name must have at most 40 letters, digits and -, since a Job is named after it: write for "
            "example after-the-loss",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_restore_is_refused_with_advice(
    client: KubernetesClient, definition: None, namespace: str, manifest: Manifest, message: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await client.create(PLATFORM_RESTORE, namespace, manifest)
    assert refused.value.status == 422
    assert message in str(refused.value)


async def test_the_spec_of_a_restore_cannot_be_changed(
    client: KubernetesClient, definition: None, namespace: str
) -> None:
    await client.create(PLATFORM_RESTORE, namespace, restore(source={}))
    with pytest.raises(ApiError) as refused:
        await client.apply(PLATFORM_RESTORE, namespace, restore(source={"shop": "a/b"}), manager="someone")
    message = "the spec of a PlatformRestore cannot be changed: create another PlatformRestore"
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "destination",
    [
        {"s3": {"bucket": "backups", "secretRef": {"name": "bucket"}}},
        {"volume": {"claimName": "disk"}},
    ],
)  # fmt: skip
async def test_the_status_of_a_restore_keeps_the_source_as_it_was_recorded(
    client: KubernetesClient, definition: None, namespace: str, destination: Manifest
) -> None:
    """Neither pruned nor completed: the operator would write it again in each pass."""
    stored = observe_backup(await client.create(PLATFORM_RESTORE, namespace, restore(source={})))
    target = Target(Destination.model_validate(destination), "backup-key")
    source = Source(target, "shop/market", "20260131T030000.000000Z-a1b2c3")
    outcome = RestoreOutcome(RestorePhase.CHECKING, RestoreReason.CHECKING_BACKUP, "It is checked.", source=source)
    status = describe_restore(stored, outcome, datetime(2026, 1, 31, tzinfo=UTC))
    answer = observe_backup(await client.apply(PLATFORM_RESTORE, namespace, status_manifest(stored, status), "status"))
    assert answer.status == status
    assert recorded_source(answer.status) == source
