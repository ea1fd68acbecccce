"""The migration of stored platforms to the storage version of their definition."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from platform_operator.api.crd_generator import crd
from platform_operator.api.kinds import CRD, PLATFORM, Kind, Manifest
from platform_operator.errors import ApiError
from platform_operator.stored_versions import CHECK_INTERVAL, StorageVersionMigrator

DEFINITION = "ecommerceplatforms.platform.ecommerce.dev"


class FakeApiServer:
    """Stores platforms, each in the version in which it was written last, and their definition."""

    def __init__(self, *stored_versions: str) -> None:
        metadata = {"name": DEFINITION, "uid": "crd", "resourceVersion": "7"}
        self.definition: Manifest | None = crd() | {"metadata": metadata}
        self.definition["status"] = {"storedVersions": list(stored_versions)}
        self.platforms = {"bakery": "v1alpha1", "shop": "v1alpha1"}
        self.versions = {"bakery": "1", "shop": "2"}
        self.errors: dict[str, ApiError] = {}
        self.changed_while_listed: set[str] = set()
        self.writes = 0
        self.pauses: list[float] = []

    @property
    def storage(self) -> str:
        assert self.definition
        (name,) = (version["name"] for version in self.definition["spec"]["versions"] if version["storage"])
        return str(name)

    @property
    def stored_versions(self) -> list[str]:
        assert self.definition
        return list(self.definition["status"]["storedVersions"])

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        assert (kind, namespace, name) == (CRD, "", DEFINITION)
        return self.definition

    async def pages(
        self, kind: Kind, namespace: str | None, selector: str
    ) -> AsyncIterator[tuple[Sequence[Manifest], int]]:
        assert (kind, namespace, selector) == (PLATFORM, None, ""), "those of all namespaces"
        for name in list(self.platforms):
            metadata = {"name": name, "namespace": "all", "uid": name, "resourceVersion": self.versions[name]}
            if name in self.changed_while_listed:
                self._write(name)
            yield [{"metadata": metadata, "spec": {"paused": True}}], 9

    async def overwrite(self, kind: Kind, namespace: str, name: str, fields: Manifest, subresource: str = "") -> None:
        if error := self.errors.get(name):
            raise error
        if kind == CRD:
            assert self.definition
            assert (name, subresource) == (DEFINITION, "status")
            self._require_version(self.definition["metadata"]["resourceVersion"], fields)
            self.definition["status"] = fields["status"]
            return
        self._require_version(self.versions[name], fields)
        assert fields.keys() == {"metadata"}, "nothing of the platform changes"
        self._write(name)

    def _require_version(self, version: str, fields: Manifest) -> None:
        if fields["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "Conflict", "changed")

    def _write(self, name: str) -> None:
        self.writes += 1
        self.platforms[name] = self.storage
        self.versions[name] += "0"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.errors.clear()
        if len(self.pauses) == 2:
            raise TimeoutError


async def test_every_platform_is_rewritten_before_the_former_version_is_removed() -> None:
    server = FakeApiServer("v1alpha1", "v1beta1")
    await StorageVersionMigrator(server).migrate()
    assert server.platforms == {"bakery": "v1beta1", "shop": "v1beta1"}
    assert server.stored_versions == ["v1beta1"]


async def test_nothing_is_written_when_all_are_stored_in_the_storage_version() -> None:
    server = FakeApiServer("v1beta1")
    await StorageVersionMigrator(server).migrate()
    assert server.writes == 0


@pytest.mark.parametrize("status", [403, 422, 500])
async def test_a_platform_that_cannot_be_rewritten_keeps_the_former_version_in_the_list(status: int) -> None:
    server = FakeApiServer("v1alpha1", "v1beta1")
    server.errors = {"shop": ApiError(status, "Refused", "no")}
    with pytest.raises(ApiError):
        await StorageVersionMigrator(server).migrate()
    assert server.stored_versions == ["v1alpha1", "v1beta1"]


async def test_a_platform_that_was_changed_since_it_was_listed_is_stored_in_the_new_version_already() -> None:
    server = FakeApiServer("v1alpha1", "v1beta1")
    server.changed_while_listed = {"shop"}
    await StorageVersionMigrator(server).migrate()
    assert (server.platforms["shop"], server.stored_versions) == ("v1beta1", ["v1beta1"])


async def test_a_platform_that_was_deleted_since_it_was_listed_is_stored_nowhere() -> None:
    server = FakeApiServer("v1alpha1", "v1beta1")
    server.errors = {"shop": ApiError(404, "NotFound", "gone")}
    await StorageVersionMigrator(server).migrate()
    assert server.stored_versions == ["v1beta1"]


async def test_the_list_of_a_definition_that_has_changed_is_not_written() -> None:
    """Its storage version may be another one by now."""
    server = FakeApiServer("v1alpha1", "v1beta1")
    server.errors = {DEFINITION: ApiError(409, "Conflict", "changed")}
    with pytest.raises(ApiError, match="changed"):
        await StorageVersionMigrator(server).migrate()
    assert server.stored_versions == ["v1alpha1", "v1beta1"]


async def test_a_migration_that_failed_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeApiServer("v1alpha1", "v1beta1")
    server.errors = {"shop": ApiError(0, "Unreachable", "no answer")}
    with pytest.raises(TimeoutError):
        await StorageVersionMigrator(server, server.sleep).run()
    assert server.stored_versions == ["v1beta1"]
    assert server.pauses == [CHECK_INTERVAL, CHECK_INTERVAL]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"cannot migrate the stored versions of {DEFINITION}: no answer"]


async def test_without_a_definition_there_is_nothing_to_migrate() -> None:
    server = FakeApiServer("v1alpha1")
    server.definition = None
    await StorageVersionMigrator(server).migrate()
    assert server.writes == 0
