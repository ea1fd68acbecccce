"""Tests of the chart that backs up a shop."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from platform_backup.settings import BackupSettings

Manifest: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[..., list[Manifest]]
Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

CHARTS = Path(__file__).parents[1]
LABEL = "app.kubernetes.io/"
BUCKET = (
    "--set=keySecret=key,destination.s3.bucket=backups,destination.s3.prefix=shops,destination.s3.secret=bucket",
    "--set=destination.s3.endpoint=https://minio.example.com:9000",
)
VOLUME = ("--set=keySecret=key,destination.volume.claim=backups",)


def the(kind: str, manifests: list[Manifest]) -> Manifest:
    """Returns the only manifest of this kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def pod_of(manifests: list[Manifest]) -> Manifest:
    spec: Manifest = the("CronJob", manifests)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_the_pod_has_every_setting_that_the_command_needs(render: Render) -> None:
    for arguments in (BUCKET, VOLUME):
        variables = {each["name"]: each for each in pod_of(render("backup", *arguments))["containers"][0]["env"]}
        assert {name for name in variables if name.startswith("BACKUP_")} <= {
            name.upper() for name in BackupSettings.model_fields
        }
        values = {
            "BACKUP_KEY": "a" * 43 + "=",
            **{name: each.get("value", "from a Secret") for name, each in variables.items() if name != "BACKUP_KEY"},
        }
        settings = BackupSettings.model_validate({name.lower(): value for name, value in values.items() if value})
        assert settings.backup_shop == "tests/shop"


def test_the_databases_are_mounted_where_the_command_reads_them(render: Render) -> None:
    pod = pod_of(render("backup", *BUCKET, "--set=databaseSecrets.order=external", release="nightly"))

    secrets = {volume["name"]: volume.get("secret") for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert secrets[mounts["/databases/user"]] == {"secretName": "shop-user-db"}
    assert secrets[mounts["/databases/order"]] == {"secretName": "external"}
    assert secrets[mounts["/runtime-roles/user"]] == {"secretName": "shop-user-db-runtime", "optional": True}


def test_the_shop_admits_backups_to_its_databases_and_backups_reach_the_bucket(render: Render, secrets: str) -> None:
    manifests = render("backup", *BUCKET, release="nightly")
    own, databases = (manifest["spec"] for manifest in manifests if manifest["kind"] == "NetworkPolicy")
    labels = the("CronJob", manifests)["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]

    assert own["podSelector"]["matchLabels"].items() <= labels.items()
    assert [rule["ports"][0]["port"] for rule in own["egress"]] == [53, 5432, 9000]
    assert [rule.get("to") for rule in own["egress"]] == [None, [{"podSelector": databases["podSelector"]}], None]
    assert ("ingress" not in own, own["policyTypes"]) == (True, ["Ingress", "Egress"]), "nothing connects to them"
    assert [rule["ports"] for rule in databases["ingress"]] == [[{"port": 5432, "protocol": "TCP"}]]
    assert databases["ingress"][0]["from"] == [{"podSelector": own["podSelector"]}]
    platform = render("platform", "--values", secrets)
    stores = [each for each in platform if each["kind"] == "StatefulSet" and each["metadata"]["name"].endswith("-db")]
    assert len(stores) == 7
    for store in stores:
        admitted = databases["podSelector"]["matchLabels"]
        assert admitted.items() <= store["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("external", "expected"),
    [({}, [("own", 5432)]), ({"order"}, [("own", 5432), ("any", 6432)]), ("all", [("any", 6432)])],
)
def test_backups_reach_databases_of_their_shop_alone_unless_these_are_external(
    render: Render, external: set[str] | str, expected: list[tuple[str, int]]
) -> None:
    values = yaml.safe_load((CHARTS / "backup/values.yaml").read_text())
    names = values["services"] if external == "all" else external
    settings = [f"--set=databaseSecrets.{name}=outside,databasePorts={{6432}}" for name in names]
    manifests = render("backup", *VOLUME, *settings, release="nightly")
    own, _ = (manifest["spec"] for manifest in manifests if manifest["kind"] == "NetworkPolicy")
    _, *databases = own["egress"]
    reached = [("own" if "to" in rule else "any", one["port"]) for rule in databases for one in rule["ports"]]
    assert reached == expected
    assert [rule["to"] for rule in databases if "to" in rule] == [
        [{"podSelector": {"matchLabels": {f"{LABEL}instance": "shop", f"{LABEL}name": "postgres"}}}]
        for where, _ in expected
        if where == "own"
    ]


def test_a_job_runs_one_command_without_retries(render: Render) -> None:
    manifests = render("backup", *VOLUME, "--set=job={restore,--replace},backupsOf=old/shop", release="nightly")

    job = the("Job", manifests)
    assert [manifest["kind"] for manifest in manifests] == ["Job"]
    assert job["metadata"]["generateName"] == "nightly-restore-"
    assert job["spec"]["backoffLimit"] == 0
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["restore", "--replace"]
    assert {"name": "BACKUP_SHOP", "value": "old/shop"} in container["env"]


def test_a_verification_has_room_for_a_server_and_other_commands_have_none(render: Render) -> None:
    schedules = "--set=schedule=@daily,verifySchedule=@weekly"
    room = "--set=verification.scratchSize=3Gi,verification.resources.limits.memory=1Gi"
    cron_jobs = [each for each in render("backup", *VOLUME, schedules, room) if each["kind"] == "CronJob"]
    create, verify = (each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for each in cron_jobs)

    scratch = {"name": "scratch", "emptyDir": {"sizeLimit": "3Gi"}}
    assert scratch in verify["volumes"]
    assert all(volume["name"] != "scratch" for volume in create["volumes"])
    (container,) = verify["containers"]
    mount = {"name": "scratch", "mountPath": BackupSettings.model_fields["backup_scratch"].default}
    assert mount in container["volumeMounts"]
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert create["containers"][0]["resources"]["limits"]["memory"] == "512Mi"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert verify["securityContext"]["runAsNonRoot"]


def test_the_image_has_the_invariants_of_every_service_with_a_database() -> None:
    root = Path(__file__).parents[2]
    folder = BackupSettings.model_fields["backup_invariants"].default
    files = {path.relative_to(root): path.parts[-3] for path in root.glob("services/*/*_service/invariants.sql")}
    copied = {f"COPY {path} {folder}/{service}.sql" for path, service in files.items() if service != "chassis"}

    lines = (root / "backup/Dockerfile").read_text().splitlines()
    assert {line for line in lines if "invariants.sql" in line} == copied
    assert len(copied) == 7


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set=destination.volume.claim=backups",), "keySecret is empty"),
        (("--set=keySecret=key",), "set exactly one of s3.bucket and volume.claim"),
        ((*BUCKET, "--set=destination.volume.claim=backups"), "set exactly one of s3.bucket and volume.claim"),
        (("--set=keySecret=key,destination.s3.bucket=backups",), "destination.s3.secret is empty"),
        ((*VOLUME, "--set=schedule=daily"), "schedule"),
        ((*BUCKET, "--set=destination.s3.prefix=shops#1"), "prefix"),
        ((*BUCKET, "--set=destination.s3.prefix=shops?eu"), "prefix"),
        ((*BUCKET, "--set=destination.s3.prefix=/shops/"), "prefix"),
        ((*VOLUME, "--set=backupsOf=old/shop"), "backups create would write or delete: set job to list"),
        ((*VOLUME, "--set=backupsOf=old/shop,job={create}"), "backups create would write or delete"),
        ((*VOLUME, "--set=backupsOf=old/shop,job={prune}"), "backups prune would write or delete"),
    ],
)
def test_values_that_make_no_backup_are_refused(helm: Run, arguments: tuple[str, ...], says: str) -> None:
    done = helm("template", "nightly", "backup", *arguments)

    assert done.returncode != 0
    assert says in done.stderr


@pytest.mark.cluster
def test_the_api_server_accepts_backups_without_a_warning(kubectl: Run, render: Render, namespace: str) -> None:
    manifests = [*render("backup", *BUCKET), *render("backup", *VOLUME, "--set=job={restore}")]
    for manifest in manifests:
        manifest["metadata"] = {**manifest["metadata"], "namespace": namespace}
    for manifest in manifests:
        done = kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=json.dumps(manifest))
        assert (done.returncode, done.stderr) == (0, "")
