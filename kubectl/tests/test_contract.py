"""What the plugin repeats of the operator, of its documents and of krew is what these say."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from chassis.messaging.topology import load_topology
from fake_api_server import FakeApiServer
from kubectl_ecommerce.cli import parser
from kubectl_ecommerce.commands import COMMANDS, resend_events, rotate, verify, waiting
from kubectl_ecommerce.kubectl import CLUSTERS, SHOPS, TENANTS
from kubectl_ecommerce.runbooks import FINE, RUNBOOKS, STORES, UNKNOWN, Runbook
from kubectl_ecommerce.shop import FAILED_UPGRADES, RETRY_ANNOTATION, ROTATE_ANNOTATION
from shops import shop

from platform_operator.api.conditions import ConditionReason, UpgradePhase
from platform_operator.api.kinds import CHILD_KINDS, CLUSTER_KINDS, GROUP, PLATFORM, STORE_KINDS
from platform_operator.api.tenants import TENANT
from platform_operator.backups import restore_status, status
from platform_operator.backups.objects import schedule_release
from platform_operator.plan.upgrades import ANNOTATION_RETRY_UPGRADE
from platform_operator.secrets.rotation import ANNOTATION_ROTATE, REQUESTED

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
PAGE = (ROOT / "docs/kubectl-ecommerce.md").read_text()
FIELDS = {"namespace": "n", "name": "s", "kind": "job", "object": "j", "service": "order"}


def test_every_reason_of_a_condition_is_fine_or_has_a_runbook() -> None:
    assert {*RUNBOOKS} | FINE == {*map(str, ConditionReason)}
    assert not FINE & {*RUNBOOKS}


def test_the_kinds_of_stores_are_those_of_the_operator() -> None:
    assert STORES == STORE_KINDS
    kinds = (CHILD_KINDS[name] for name in CLUSTER_KINDS)
    assert {one.kind: f"{one.plural}.{one.group}" for one in kinds} == CLUSTERS


@pytest.mark.parametrize("runbook", [*RUNBOOKS.values(), UNKNOWN], ids=[*RUNBOOKS, "unknown"])
def test_a_runbook_has_a_command_and_a_section_of_the_documents(runbook: Runbook) -> None:
    headings = {_anchor(line) for line in OPERATIONS.splitlines() if line.startswith("#")}
    assert runbook.section in headings
    command = runbook.command.format(**FIELDS)
    assert command.startswith("kubectl ")
    assert ("{object}" in runbook.command) == bool(runbook.needs)
    if command.startswith("kubectl ecommerce "):
        words = command.removeprefix("kubectl ecommerce ").split()
        assert words[0] in {one.name for one in COMMANDS}
        parser().parse_args(words)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lstrip("# ").lower()).replace(" ", "-")


def test_the_names_are_the_operators() -> None:
    assert f"{PLATFORM.plural}.{GROUP}" == SHOPS
    assert f"{TENANT.plural}.{GROUP}" == TENANTS
    assert RETRY_ANNOTATION == ANNOTATION_RETRY_UPGRADE
    assert ROTATE_ANNOTATION == ANNOTATION_ROTATE
    assert verify.cron_job_name("shop") == f"{schedule_release('shop')}-verify"
    assert {*rotate.KINDS} == {*map(str, REQUESTED), "all"}
    assert {*resend_events.SERVICES} == {event.producer for event in load_topology().events.values()}
    assert {*FAILED_UPGRADES} == {*map(str, UpgradePhase)} - {"RollingOut", "RollingBack"}
    assert {*waiting.WAITS_FOR} == {*map(str, (*status.ENDS_BY_ITSELF, *restore_status.ENDS_BY_ITSELF))}


def test_every_command_is_documented_with_an_example_that_parses() -> None:
    for command in COMMANDS:
        assert f"`{command.name} " in PAGE, command.name
        assert command.examples
        for example in command.examples:
            assert parser().parse_args(example.split()).command is command


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files for krew."""
    folder = tmp_path_factory.mktemp("krew")
    flags = ("--version", "v1.2.0", "--homepage", "https://example.com/shop", "--uri", "https://example.com/a.tar.gz")
    subprocess.run([sys.executable, ROOT / "kubectl/package", *flags, "--to", folder], check=True)
    return folder


def test_the_krew_manifest_has_the_fields_that_krew_documents(release: Path) -> None:
    manifest = yaml.safe_load((release / "ecommerce.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("krew.googlecontainertools.github.com/v1alpha2", "Plugin")
    assert manifest["metadata"] == {"name": "ecommerce"}
    spec = manifest["spec"]
    assert {*spec} == {"version", "homepage", "shortDescription", "description", "caveats", "platforms"}
    assert re.fullmatch(r"v\d+\.\d+\.\d+", spec["version"])
    assert len(spec["shortDescription"]) <= 50
    assert not re.search(r"^[A-Z]{4,}$", str(manifest), re.MULTILINE)
    (platform,) = spec["platforms"]
    assert {*platform} == {"selector", "uri", "sha256", "bin"}
    assert platform["sha256"] == hashlib.sha256((release / "kubectl-ecommerce.tar.gz").read_bytes()).hexdigest()
    (expression,) = platform["selector"]["matchExpressions"]
    assert {expression["key"], expression["operator"], *expression["values"]} == {"os", "In", "linux", "darwin"}


def test_the_packed_plugin_runs_below_kubectl_without_this_repository(
    release: Path, cluster: FakeApiServer, kubeconfig: Path, tmp_path: Path
) -> None:
    cluster.add(shop())
    with tarfile.open(release / "kubectl-ecommerce.tar.gz") as archive:
        assert {*archive.getnames()} == {"kubectl-ecommerce", "LICENSE"}
        archive.extract("kubectl-ecommerce", tmp_path, filter="data")
    (tmp_path / "kubectl_complete-ecommerce").symlink_to("kubectl-ecommerce")
    (tmp_path / "python3").symlink_to(sys.base_prefix + "/bin/python3")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": ""}

    def output(*command: str) -> str:
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert yaml.safe_load(output("kubectl", "ecommerce", "why", "-o", "yaml"))["state"] == "Ready"
    assert output("kubectl", "__complete", "ecommerce", "why", "s").splitlines()[0] == "shop"
