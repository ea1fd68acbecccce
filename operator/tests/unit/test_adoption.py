"""A shop that Helm has installed is taken over by a platform: the objects are those that Helm renders of the charts."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_reconciler import FakeApiServer, FakeCluster, Manifest, paths

from platform_operator.api.kinds import CHILD_KINDS, PLATFORM, Kind
from platform_operator.apply import helm_release
from platform_operator.errors import ApiError
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer

ADOPT = {"annotations": {"platform.ecommerce.dev/adopt-release": "shop"}}
RELEASE = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "shop"}
WITH_PODS = ("Deployment", "StatefulSet", "Job")


class ReleaseServer(FakeApiServer):
    """An API server with a Helm release, which lists Secrets and keeps the field managers of others."""

    changes_in_between = 0
    """Writes of controllers that come before the next ones of the operator."""

    async def list(
        self, kind: Kind, namespace: str, selector: str = "", limit: int = 0, fields: str = ""
    ) -> tuple[list[Manifest], int]:
        if kind.kind != "Secret":
            return await super().list(kind, namespace, selector, limit, fields)
        wanted = dict(pair.split("=") for pair in selector.split(","))
        secrets = [one for (kind_name, _), one in self.objects.items() if kind_name == "Secret"]
        return [one for one in secrets if wanted.items() <= one["metadata"].get("labels", {}).items()], 1

    async def apply(self, kind: Kind, namespace: str, manifest: Manifest, *more: Any, **named: Any) -> Manifest:
        before = self.objects.get((kind.kind, manifest["metadata"]["name"]), {"metadata": {}})["metadata"]
        others, annotations = before.get("managedFields", []), before.get("annotations", {})
        answer = await super().apply(kind, namespace, manifest, *more, **named)
        stored = self.objects[kind.kind, manifest["metadata"]["name"]]["metadata"]
        if kind is not PLATFORM:
            stored["managedFields"] += [one for one in others if one["operation"] == "Update"]
            stored["annotations"] = annotations | stored.get("annotations", {})
        return answer | {"metadata": copy.deepcopy(stored)}

    async def overwrite(self, kind: Kind, namespace: str, name: str, fields: Manifest) -> None:
        stored = self.objects[kind.kind, name]
        if self.changes_in_between:
            self.changes_in_between -= 1
            self.touch(stored)
        if fields["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "changed")
        annotations = stored["metadata"]["annotations"] | fields["metadata"]["annotations"]
        stored["metadata"]["annotations"] = {name: value for name, value in annotations.items() if value is not None}
        stored["metadata"]["managedFields"] = fields["metadata"]["managedFields"]
        self.touch(stored)


class Release(FakeCluster):
    """A namespace in which Helm has installed the charts, and an operator with the same charts."""

    def __init__(self, tmp_path: Path, manifests: list[Manifest], charts: Path, helm: str) -> None:
        super().__init__(tmp_path)
        self.server = ReleaseServer()
        self.charts, self.executable = charts, helm
        self.version = "1.0"
        for manifest in manifests:
            self.put(copy.deepcopy(manifest))
        self.restart()
        self.reconciler.renderer = self.reconciler.releases.renderer = Renderer(
            Helm(executable=helm), charts / "platform"
        )

    def put(self, manifest: Manifest) -> None:
        """Stores an object as Helm creates it, with pods that are ready."""
        identity = manifest["kind"], manifest["metadata"]["name"]
        update = {"manager": "helm", "operation": "Update", "fieldsV1": paths(manifest)}
        own = {"namespace": "shop", "uid": f"helm-{identity[1]}", "generation": 1, "managedFields": [update]}
        annotations = manifest["metadata"].get("annotations", {}) | RELEASE
        manifest["metadata"] |= own | {"annotations": annotations}
        self.server.objects[identity] = manifest
        self.server.touch(manifest)
        self.come_up(identity)  # type: ignore[arg-type]

    def put_record(self, revision: int, chart: str = "platform", release: str = "shop") -> str:
        """Stores the record of a revision of a release. Returns its name."""
        text = json.dumps({"name": release, "chart": {"metadata": {"name": chart}}}).encode()
        data = base64.b64encode(base64.b64encode(gzip.compress(text))).decode()
        name = f"sh.helm.release.v1.{release}.v{revision}"
        labels = {"owner": "helm", "name": release, "version": str(revision), "status": "deployed"}
        metadata = {"name": name, "namespace": "shop", "uid": name, "generation": 1, "labels": labels}
        record = {"kind": "Secret", "metadata": metadata, "type": "helm.sh/release.v1", "data": {"release": data}}
        self.server.objects["Secret", name] = record
        self.server.touch(record)
        return name

    def of_kinds(self, *kinds: str) -> dict[tuple[str, str], Manifest]:
        return {identity: one for identity, one in self.server.objects.items() if identity[0] in kinds}

    async def take_over_release(self) -> None:
        for _ in range(3):
            await self.reconcile()


@pytest.fixture(scope="module")
def installed(charts: Path, helm: str, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The objects of `helm install shop charts/platform`, each with the labels of its release."""
    values = tmp_path_factory.mktemp("release") / "secrets.yaml"
    values.write_text(_run(str(charts / "secrets")))
    image = "--set=global.image.tag=1.0"
    text = _run(helm, "template", "shop", str(charts / "platform"), "--namespace=shop", f"--values={values}", image)
    return [manifest for manifest in yaml.load_all(text, yaml.CSafeLoader) if manifest]


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def release(tmp_path: Path, installed: list[Manifest], charts: Path, helm: str) -> Release:
    made = Release(tmp_path, installed, charts, helm)
    made.spec({})
    return made


async def test_a_platform_takes_over_the_helm_release_of_its_name_without_replacing_a_pod(release: Release) -> None:
    records = [release.put_record(revision) for revision in (1, 2)]
    before = copy.deepcopy(release.of_kinds(*WITH_PODS))
    secrets = {name: one["data"] for name, one in release.of_kinds("Secret").items() if "data" in one}
    release.spec({}, **ADOPT)
    await release.take_over_release()

    assert release.condition("Ready") == ("True", "AllReady"), release.message("Ready")
    after = release.of_kinds(*WITH_PODS)
    assert after.keys() == before.keys(), "nothing is created under another name"
    for identity, one in after.items():
        assert one["spec"] == before[identity]["spec"], identity
        assert one["metadata"]["generation"] == 1, "a changed spec has a new one"
        assert one["metadata"]["uid"] == before[identity]["metadata"]["uid"]
        assert one["metadata"]["ownerReferences"][0]["name"] == "shop"
        assert [entry["manager"] for entry in one["metadata"]["managedFields"]] == ["ecommerce-operator"]
        assert not RELEASE.keys() & one["metadata"]["annotations"].keys()
    kept = release.of_kinds("Secret")
    assert not any(("Secret", name) in kept for name in records)
    credentials = {name: data for name, data in secrets.items() if name[1] not in records}
    assert credentials, "the passwords that the stores have"
    assert {name: kept[name]["data"] for name in credentials} == credentials


async def test_the_stores_of_a_release_without_tls_have_none_from_the_first_pass_on(tmp_path: Path) -> None:
    cluster = FakeCluster(tmp_path)
    for component in ("redis", "rabbitmq"):
        labels = {"app.kubernetes.io/managed-by": "Helm"}
        metadata = {
            "name": f"shop-{component}",
            "namespace": "shop",
            "uid": component,
            "generation": 1,
            "labels": labels,
        }
        secret = {"kind": "Secret", "metadata": metadata | {"annotations": dict(RELEASE)}, "data": {"URL": "eA=="}}
        cluster.server.objects["Secret", f"shop-{component}"] = secret
        cluster.server.touch(secret)
    cluster.spec({}, **ADOPT)
    rendered = []
    for _ in range(2):
        await cluster.reconcile()
        rendered.append(cluster.helm.values["global"].get("tls"))
    assert rendered == [{"plainStores": ["rabbitmq", "redis"]}] * 2


async def test_a_release_is_left_alone_without_the_annotation_of_its_platform(release: Release) -> None:
    record = release.put_record(1)
    before = copy.deepcopy(release.of_kinds(*WITH_PODS))
    for own in ({}, {"platform.ecommerce.dev/adopt-release": "bakery"}):
        release.spec({}, annotations=own)
        await release.reconcile()
        assert release.condition("Degraded") == ("True", "NameConflict")
        assert release.of_kinds(*WITH_PODS) == before
        assert ("Secret", record) in release.server.objects


@pytest.mark.parametrize("name", RELEASE)
async def test_objects_of_other_releases_are_not_adopted(release: Release, name: str) -> None:
    theirs = release.server.objects["Service", "shop-gateway"]
    theirs["metadata"]["annotations"] |= {name: "bakery"}
    record = release.put_record(1)
    release.spec({}, **ADOPT)
    await release.take_over_release()
    assert release.condition("Degraded") == ("True", "NameConflict")
    assert "ownerReferences" not in theirs["metadata"]
    assert ("Secret", record) in release.server.objects, "the release still has objects"


async def test_an_observed_release_keeps_everything(release: Release) -> None:
    record = release.put_record(1)
    before = copy.deepcopy(release.of_kinds(*WITH_PODS, "Service", "ConfigMap"))
    release.spec({"mode": "Observe"}, **ADOPT)
    await release.take_over_release()
    assert release.of_kinds(*WITH_PODS, "Service", "ConfigMap") == before
    assert ("Secret", record) in release.server.objects


async def test_records_stay_until_every_object_is_ready(release: Release) -> None:
    record = release.put_record(1)
    broken = release.server.objects["Deployment", "shop-order"]
    broken["status"]["availableReplicas"] = broken["status"]["readyReplicas"] = 0
    release.spec({}, **ADOPT)
    await release.take_over_release()
    assert ("Secret", record) in release.server.objects
    release.come_up(("Deployment", "shop-order"))  # type: ignore[arg-type]
    await release.reconcile()
    assert ("Secret", record) not in release.server.objects


async def test_records_of_other_charts_and_releases_stay(release: Release) -> None:
    """A release of another chart may have the platform's name, if none of its objects has a name of the platform's."""
    others = [release.put_record(1, chart="nginx"), release.put_record(1, release="bakery")]
    malformed = release.put_record(2)
    release.server.objects["Secret", malformed]["data"] = {"release": "bm8="}
    release.spec({}, **ADOPT)
    await release.take_over_release()
    assert release.condition("Ready") == ("True", "AllReady")
    assert all(("Secret", name) in release.server.objects for name in (*others, malformed))


async def test_an_object_that_its_controller_writes_at_the_same_time_is_read_again(release: Release) -> None:
    assert isinstance(release.server, ReleaseServer)
    server = release.server
    order = server.objects["Deployment", "shop-order"]
    client: Any = server
    server.changes_in_between = helm_release.ATTEMPTS - 1
    await helm_release.remove_helm_ownership(client, CHILD_KINDS["Deployment"], copy.deepcopy(order))
    assert order["metadata"]["managedFields"] == []

    server.objects["Deployment", "shop-order"]["metadata"]["managedFields"] = [{"manager": "helm"}]
    server.changes_in_between = helm_release.ATTEMPTS
    with pytest.raises(ApiError, match="changed"):
        await helm_release.remove_helm_ownership(client, CHILD_KINDS["Deployment"], copy.deepcopy(order))
