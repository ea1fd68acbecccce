"""The commands that change a shop: pause, resume, hibernate, wake, rollback, retry, rotate, resend-events, backup,
verify, restore."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_api_server import FakeApiServer
from kubectl_ecommerce.commands import waiting
from kubectl_ecommerce.kubectl import RESTORES, Kubectl
from shops import NEW, OLD, SERVICES, release, shop

from conftest import NOW, Plugin
from platform_operator.api.spec import parse
from platform_operator.secrets.rotation import ANNOTATION_ROTATE, parse_request

Golden = Callable[[str, str], None]


def test_a_paused_shop_is_observed_until_it_is_resumed(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop())
    assert "paused: the operator changes and repairs nothing" in plugin("pause", "shop").text
    assert stored["spec"] == {"mode": "Observe"}
    assert plugin("pause", "shop").text == "shop/shop: is paused already\n"
    assert "resumed" in plugin("resume", "shop").text
    assert stored["spec"] == {"mode": "Manage"}
    assert plugin("resume", "shop").text == "shop/shop: is not paused\n"
    assert len(cluster.patches) == 2


def test_the_earlier_name_of_the_mode_is_resumed_too(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop(spec={"paused": True}))
    plugin("resume", "shop")
    assert stored["spec"] == {"mode": "Manage"}


def test_a_hibernated_shop_is_woken(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop())
    assert plugin("wake").text == "shop/shop: is not hibernated\n"
    assert "hibernates" in plugin("hibernate").text
    assert stored["spec"]["hibernated"] is True
    assert plugin("hibernate").text == "shop/shop: is to be hibernated already\n"
    assert "wakes" in plugin("wake").text
    assert stored["spec"]["hibernated"] is False


@pytest.mark.parametrize("command", [["pause"], ["hibernate"], ["rollback", "--to", "1"]])
def test_a_dry_run_changes_nothing(command: list[str], cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    cluster.add(release(1, "1.4.1"))
    assert "(dry run: nothing was changed)" in plugin(*command, "--dry-run").text
    assert cluster.patches == []


def _releases(cluster: FakeApiServer, *versions: str) -> None:
    for revision, version in enumerate(versions, start=1):
        cluster.add(release(revision, version))


def test_a_rollback_sets_the_version_that_ran_before(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop(spec={"version": NEW}, version=NEW, targetVersion=NEW))
    _releases(cluster, "1.4.1", OLD, OLD, NEW, NEW)  # a release may have new settings alone
    assert f"spec.version was {NEW} and is {OLD}" in plugin("rollback").text
    assert stored["spec"]["version"] == OLD


@pytest.mark.parametrize(
    "status",
    [
        {"targetVersion": NEW},  # on its way
        {"upgrade": {"version": NEW, "phase": "RolledBack", "step": "user"}},  # and back
    ],
)
def test_a_rollback_during_an_upgrade_keeps_the_version_that_runs(
    status: dict[str, Any], cluster: FakeApiServer, plugin: Plugin
) -> None:
    stored = cluster.add(shop(spec={"version": NEW}, **status))
    _releases(cluster, "1.4.1", OLD, NEW)
    plugin("rollback", "shop")
    assert stored["spec"]["version"] == OLD


@pytest.mark.parametrize("name", ["1", "1.4.1"])
def test_a_rollback_goes_to_a_release_by_its_revision_or_version(
    name: str, cluster: FakeApiServer, plugin: Plugin
) -> None:
    stored = cluster.add(shop())
    _releases(cluster, "1.4.1", OLD)
    plugin("rollback", "shop", "--to", name)
    assert stored["spec"]["version"] == "1.4.1"


def test_a_rollback_to_a_release_that_is_not_kept_is_refused(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    _releases(cluster, OLD)
    assert (
        "has no release 7: see kubectl ecommerce rollback shop --list -n shop" in plugin("rollback", "--to", "7").error
    )
    assert "has no release of another version" in plugin("rollback").error
    assert cluster.patches == []


def test_a_rollback_to_the_version_of_the_spec_changes_nothing(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop(spec={"version": OLD}))
    _releases(cluster, OLD)
    assert plugin("rollback", "--to", OLD).text == f"shop/shop: spec.version is {OLD} already\n"
    assert cluster.patches == []


def test_the_releases_are_listed_newest_first(cluster: FakeApiServer, plugin: Plugin, golden: Golden) -> None:
    cluster.add(shop())
    _releases(cluster, "1.4.1", OLD, NEW)
    golden("rollback-list", plugin("rollback", "--list").text)
    found = json.loads(plugin("rollback", "--list", "-o", "json").text)["releases"]
    assert [one["revision"] for one in found] == [3, 2, 1]


def test_an_upgrade_that_has_failed_is_tried_again(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop(upgrade={"version": NEW, "phase": "RolledBack", "step": "user"}))
    assert plugin("retry").text == f"shop/shop: the upgrade to {NEW} is tried again\n"
    request = str(int(NOW.timestamp()))
    assert stored["metadata"]["annotations"] == {"platform.ecommerce.dev/retry-upgrade": request}


@pytest.mark.parametrize("status", [{}, {"upgrade": {"version": NEW, "phase": "RollingOut", "step": "user"}}])
def test_there_is_nothing_to_try_again_without_a_failed_upgrade(
    status: dict[str, Any], cluster: FakeApiServer, plugin: Plugin
) -> None:
    cluster.add(shop(**status))
    assert "has no upgrade that has failed" in plugin("retry").error
    assert cluster.patches == []


def test_a_rotation_is_asked_for_with_a_name_of_its_own(cluster: FakeApiServer, plugin: Plugin) -> None:
    stored = cluster.add(shop())
    assert "a rotation is asked for (grpc:20260131T120000Z)" in plugin("rotate", "grpc", "shop").text
    request = stored["metadata"]["annotations"][ANNOTATION_ROTATE]
    assert parse_request(request, parse({})).kinds == {"grpc"}


def _deployments(cluster: FakeApiServer) -> None:
    for name in SERVICES:
        labels = {"app.kubernetes.io/component": name}
        metadata = {"name": f"shop-{name}", "namespace": "shop"}
        spec = {"selector": {"matchLabels": labels}, "template": {}}
        cluster.add({"metadata": metadata, "spec": spec}, "Deployment", "apps/v1")
        pod = {
            "metadata": {"name": f"shop-{name}-1", "namespace": "shop", "labels": labels},
            "spec": {"containers": [{"name": name}]},
            "status": {"phase": "Running"},
        }
        cluster.add(pod, "Pod", "v1")


def test_events_are_resent_by_the_services_that_publish_some(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    _deployments(cluster)
    said = plugin("resend-events", "--since", "2026-01-31T08:00:00Z").text
    assert said.splitlines()[0] == "user: 3 events are resent"
    assert [pod for pod, _ in cluster.executed] == [
        f"shop-{name}-1" for name in ("user", "product", "inventory", "order", "payment", "review")
    ]
    assert cluster.executed[3][1] == ["python", "-m", "order_service", "resend", "--since", "2026-01-31T08:00:00Z"]


def test_events_of_one_service_and_type_are_resent(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    _deployments(cluster)
    period = ("--since", "2026-01-31T08:00:00Z", "--until", "2026-01-31T09:00:00Z")
    plugin("resend-events", *period, "--service", "order", "--type", "order.placed.v1")
    command = ["python", "-m", "order_service", "resend", *period, "--type", "order.placed.v1"]
    assert cluster.executed == [("shop-order-1", command)]


def test_a_dry_run_of_resending_prints_the_commands(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    arguments = ("--since", "2026-01-31T08:00:00Z", "--service", "user", "--dry-run")
    assert plugin("resend-events", *arguments).text == (
        "user: kubectl -n shop exec deployment/shop-user -- "
        "python -m user_service resend --since 2026-01-31T08:00:00Z\n"
    )
    assert cluster.executed == []


def test_a_service_that_cannot_resend_is_named_with_those_that_have(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    _deployments(cluster)
    cluster.failing_commands["inventory_service"] = "inventory_service: --since is more than 29 days ago"
    line = plugin("resend-events", "--since", "2026-01-01T08:00:00Z").error
    assert "inventory: inventory_service: --since is more than 29 days ago. It is done by user, product;" in line


@pytest.mark.parametrize("since", ["yesterday", "2026-01-31T08:00:00"])
def test_a_period_needs_a_time_with_its_zone(since: str, cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    assert "write it like 2026-01-31T08:00:00Z" in plugin("resend-events", "--since", since).error


def _ended(phase: str, reason: str, message: str, **result: Any) -> dict[str, Any]:
    condition = {"type": "Complete", "status": str(phase == "Succeeded"), "reason": reason, "message": message}
    return {"phase": phase, "completionTime": "2026-01-31T12:01:00Z", "conditions": [condition], **result}


def _backups(cluster: FakeApiServer) -> list[str]:
    return [name for kind, _, name in cluster.objects if kind == "platformbackups"]


def test_a_backup_is_created_and_its_result_is_said(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    result = {"backupId": "20260131T115900Z-a1b2c3", "cutTime": "2026-01-31T11:59:30Z", "size": "12.3 MiB"}
    cluster.status_of_created = _ended("Succeeded", "Succeeded", "Whole.", **result)
    text = "backup 20260131T115900Z-a1b2c3 of 2026-01-31T11:59:30Z is whole (12.3 MiB)"
    assert plugin("backup", "shop").text == f"shop/shop: {text}\n"
    assert _backups(cluster) == ["shop-20260131-120000"]
    assert cluster.objects["platformbackups", "shop", "shop-20260131-120000"]["spec"] == {"platform": "shop"}
    data = json.loads(plugin("backup", "--name", "second", "-o", "json").text)
    assert (data["platformBackup"], data["status"]["backupId"]) == ("second", result["backupId"])


def test_a_backup_that_has_failed_is_a_failure(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    cluster.status_of_created = _ended("Failed", "DestinationFull", "the bucket is full: keep fewer backups")
    line = plugin("backup", "--name", "now").error
    assert "PlatformBackup now is Failed with DestinationFull: the bucket is full: keep fewer backups" in line


def test_a_backup_that_cannot_begin_is_a_failure_with_its_cause(
    cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "INTERVAL", 0.001)
    cluster.add(shop())
    cluster.status_of_created = _unfinished("Pending", "Hibernated", "the shop is hibernated: wake it.")
    line = plugin("backup", "--name", "now").error
    assert "PlatformBackup now has not begun: it is Pending with Hibernated: the shop is hibernated: wake it." in line
    assert line.endswith("to give it up: kubectl -n shop delete platformbackup now")


def test_a_backup_that_takes_too_long_is_a_failure_with_its_last_phase(
    cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "INTERVAL", 0.001)
    cluster.add(shop())
    cluster.status_of_created = _unfinished("Running", "PodNotStarted", "the image cannot be pulled.")
    line = plugin("backup", "--name", "now", "--timeout", "1ms").error
    assert "has not ended within 1ms and goes on: it is Running with PodNotStarted: the image cannot be pulled." in line


def test_a_backup_that_no_operator_has_seen_is_a_failure(
    cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "REPORTS_WITHIN", 0.001)
    cluster.add(shop())
    line = plugin("backup", "--name", "now").error
    assert "the operator has not reported about PlatformBackup now: see kubectl -n ecommerce-system get pods" in line


def _unfinished(phase: str, reason: str, message: str) -> dict[str, Any]:
    condition = {"type": "Complete", "status": "False", "reason": reason, "message": message}
    return {"phase": phase, "conditions": [condition]}


def test_a_backup_is_not_waited_for_if_it_is_not_to_be(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    assert "would be created (dry run: nothing was changed)" in plugin("backup", "--dry-run").text
    assert _backups(cluster) == []
    assert plugin("backup", "--name", "now", "--no-wait").text == "shop/shop: PlatformBackup now is created\n"
    assert _backups(cluster) == ["now"]


def _cron_job(cluster: FakeApiServer) -> None:
    template = {"metadata": {"annotations": {"digest": "d"}}, "spec": {"backoffLimit": 2, "template": {}}}
    metadata = {"name": "shop-backup-verify", "namespace": "shop", "uid": "u"}
    cluster.add({"metadata": metadata, "spec": {"jobTemplate": template}}, "CronJob", "batch/v1")


def _end_job(cluster: FakeApiServer, job: str, conditions: dict[str, str], *messages: object) -> None:
    cluster.status_of_created = {
        "conditions": [
            {"type": type_, "status": "True", "reason": "BackoffLimitExceeded", "message": message}
            for type_, message in conditions.items()
        ]
    }
    for number, message in enumerate(messages):
        text = message if isinstance(message, str) else json.dumps(message)
        state = {"terminated": {"finishedAt": f"2026-01-31T12:0{9 - number}:00Z", "message": text}}
        metadata = {"name": f"{job}-{number}", "namespace": "shop", "labels": {"batch.kubernetes.io/job-name": job}}
        cluster.add({"metadata": metadata, "status": {"containerStatuses": [{"state": state}]}}, "Pod", "v1")


def test_a_verification_is_started_as_by_the_schedule_and_its_result_is_said(
    cluster: FakeApiServer, plugin: Plugin
) -> None:
    cluster.add(shop())
    _cron_job(cluster)
    job = "shop-verify-20260131-120000"
    report = {"id": "20260131T1159-a1", "cut": "2026-01-31T11:59:30.000+00:00", "invariants": {"order": 5, "user": 2}}
    _end_job(cluster, job, {"SuccessCriteriaMet": ""}, report, {"reason": "DestinationUnavailable", "message": "once"})
    text = "backup 20260131T1159-a1 of 2026-01-31T11:59:30.000+00:00 is restorable, and its 7 invariants hold"
    assert plugin("verify", "shop").text == f"shop/shop: {text}\n"
    created = cluster.objects["jobs", "shop", job]
    assert created["spec"]["backoffLimit"] == 2
    assert created["metadata"]["annotations"]["digest"] == "d", "else the operator counts it as one of another target"
    assert [one["uid"] for one in created["metadata"]["ownerReferences"]] == ["u"]
    _end_job(cluster, "second", {"Complete": ""}, report)
    data = json.loads(plugin("verify", "--name", "second", "-o", "json").text)
    assert (data["job"], data["result"]) == ("second", report)
    _end_job(cluster, "third", {"Complete": ""})
    assert "has not reported which backup" in plugin("verify", "--name", "third").text


def test_a_backup_that_is_not_restorable_is_a_failure(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    _cron_job(cluster)
    report = {"reason": "InvariantBroken", "message": "violates sums_agree of order (1 row)"}
    _end_job(cluster, "now", {"FailureTarget": "the limit"}, report, {"reason": "DestinationUnavailable"})
    line = plugin("verify", "--name", "now").error
    assert "Job now has failed with InvariantBroken: violates sums_agree of order (1 row)" in line
    _end_job(cluster, "evicted", {"Failed": "it has reached the limit"}, "not JSON")
    line = plugin("verify", "--name", "evicted").error
    assert "Job evicted has failed with BackoffLimitExceeded: it has reached the limit" in line
    cluster.status_of_created = {}
    line = plugin("verify", "--name", "slow", "--timeout", "1ms").error
    assert "Job slow has not ended within 1ms and goes on: see kubectl -n shop describe job slow" in line


def test_a_verification_needs_a_schedule_and_can_be_tried(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    assert "has no CronJob shop-backup-verify: set spec.backup.verifySchedule" in plugin("verify").error
    _cron_job(cluster)
    assert "would be created (dry run: nothing was changed)" in plugin("verify", "--dry-run").text
    assert [name for kind, _, name in cluster.objects if kind == "jobs"] == []
    assert plugin("verify", "--name", "now", "--no-wait").text == "shop/shop: Job now is created\n"
    assert [name for kind, _, name in cluster.objects if kind == "jobs"] == ["now"]


def test_a_restore_is_created_and_its_result_is_said(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    result = {"backupId": "20260131T1159-a1b2c3", "cutTime": "2026-01-31T11:59:30Z", "closedSeconds": 83}
    cluster.status_of_created = _ended("Succeeded", "Succeeded", "Whole.", invariants="all hold", **result)
    text = "backup 20260131T1159-a1b2c3 of 2026-01-31T11:59:30Z is restored; the shop was closed for 83 s; its "
    assert plugin("restore", "shop", "--backup", "before").text == f"shop/shop: {text}invariants: all hold\n"
    stored = cluster.objects["platformrestores", "shop", "shop-20260131-120000"]
    assert stored["spec"] == {"platform": "shop", "backup": "before"}
    data = json.loads(plugin("restore", "--newest", "--of", "old/shop", "--name", "second", "-o", "json").text)
    assert (data["platformRestore"], data["status"]["closedSeconds"]) == ("second", 83)
    assert cluster.objects["platformrestores", "shop", "second"]["spec"]["source"] == {"shop": "old/shop"}


def test_a_restore_that_has_failed_or_cannot_begin_says_why_in_one_line(
    cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "INTERVAL", 0.001)
    cluster.add(shop())
    cluster.status_of_created = _ended("Failed", "WrongKey", "the key is another. The shop is closed: correct this.")
    line = plugin("restore", "--id", "20260131T1159-a1b2c3", "--name", "now").error
    assert "PlatformRestore now is Failed with WrongKey: the key is another. The shop is closed: correct this." in line
    cluster.status_of_created = _unfinished("Pending", "Hibernated", "the shop is hibernated: wake it.")
    line = plugin("restore", "--newest", "--name", "later").error
    assert line.endswith("to give it up: kubectl -n shop delete platformrestore later")


def test_a_restore_names_its_backup_in_one_way_and_can_be_tried(cluster: FakeApiServer, plugin: Plugin) -> None:
    cluster.add(shop())
    assert "--of belongs to --id and --newest" in plugin("restore", "--backup", "before", "--of", "a/b").error
    assert "would be created (dry run: nothing was changed)" in plugin("restore", "--newest", "--dry-run").text
    assert [kind for kind, _, _ in cluster.objects if kind == "platformrestores"] == []


def _going_on(cluster: FakeApiServer, monkeypatch: pytest.MonkeyPatch, *statuses: dict[str, Any]) -> None:
    """Writes the next status of a PlatformRestore after each look of the plugin, as the operator goes on."""
    monkeypatch.setattr(waiting, "INTERVAL", 0.001)
    read, left = Kubectl.read, iter(statuses)

    def read_and_go_on(kubectl: Kubectl, *arguments: str) -> dict[str, Any]:
        stored = read(kubectl, *arguments)
        if arguments[0].startswith(RESTORES) and (status := next(left, None)) is not None:
            cluster.objects["platformrestores", "shop", arguments[0].partition("/")[2]]["status"] = status
        return stored

    monkeypatch.setattr(Kubectl, "read", read_and_go_on)


def test_a_restore_into_a_new_shop_waits_until_it_begins_and_says_what_goes_on(
    cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add(shop())
    waits = _unfinished("Pending", "DatabasesNotReady", "These databases are not ready: order.")
    result = {"backupId": "20260131T1159-a1b2c3", "closedSeconds": 83, "invariants": "all hold"}
    cluster.status_of_created = waits
    _going_on(
        cluster, monkeypatch, waits, _unfinished("Restoring", "Running", "A pod restores the databases."),
        _ended("Succeeded", "Succeeded", "Whole.", **result),
    )  # fmt: skip
    outcome = plugin("restore", "shop", "--newest", "--name", "now")
    assert outcome.text.startswith("shop/shop: backup 20260131T1159-a1b2c3 of an unknown time is restored")
    assert outcome.stderr.splitlines() == [
        "PlatformRestore now is Pending with DatabasesNotReady: These databases are not ready: order.",
        "PlatformRestore now is Restoring with Running: A pod restores the databases.",
    ]


@pytest.mark.parametrize("command", [["backup"], ["restore", "--newest"], ["verify"]])
def test_a_cluster_that_does_not_answer_for_a_while_does_not_end_the_wait(
    command: list[str], cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "RETRY_AFTER", 0.001)
    cluster.add(shop())
    _cron_job(cluster)
    result = {"backupId": "20260131T1159-a1b2c3", "size": "1 MiB", "closedSeconds": 83, "invariants": "all hold"}
    status = _ended("Succeeded", "Succeeded", "Whole.", **result)
    cluster.status_of_created = status | {"conditions": [*status["conditions"], {"type": "Other", "status": "False"}]}
    create = Kubectl.create

    def create_and_fail(*arguments: Any, **options: Any) -> None:
        create(*arguments, **options)
        cluster.unavailable = 2

    monkeypatch.setattr(Kubectl, "create", create_and_fail)
    outcome = plugin(*command, "--name", "now")
    assert outcome.code == 0
    assert cluster.unavailable == 0
    (line,) = outcome.stderr.splitlines()
    assert "etcdserver: leader changed" in line
    assert "now goes on; the cluster is asked again" in line


@pytest.mark.parametrize(
    ("command", "kind"),
    [(["backup"], "PlatformBackup"), (["restore", "--newest"], "PlatformRestore"), (["verify"], "Job")],
)
def test_a_wait_that_fails_says_that_the_work_goes_on_and_how_to_see_it(
    command: list[str], kind: str, cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "RETRY_AFTER", 0.001)
    cluster.add(shop())
    _cron_job(cluster)
    create = Kubectl.create

    def create_and_fail(*arguments: Any, **options: Any) -> None:
        create(*arguments, **options)
        cluster.unavailable, cluster.forbidden = unavailable, forbidden

    monkeypatch.setattr(Kubectl, "create", create_and_fail)
    goes_on = f"{kind} now goes on: see kubectl -n shop describe {kind.lower()} now"
    unavailable, forbidden = 99, set[str]()
    outcome = plugin(*command, "--name", "now", "--timeout", "1ms")
    assert outcome.code == 1
    assert "etcdserver: leader changed" in outcome.stderr.splitlines()[-1]
    assert goes_on in outcome.stderr.splitlines()[-1]
    cluster.reset()
    cluster.add(shop())
    _cron_job(cluster)
    unavailable, forbidden = 0, {"jobs", "platformbackups", "platformrestores"}
    line = plugin(*command, "--name", "now").error
    assert 'User "clerk" cannot GET it' in line
    assert goes_on in line


@pytest.mark.parametrize(
    ("command", "goes_on"),
    [
        (["restore", "shop", "--newest", "--name", "now"], "PlatformRestore now goes on: see kubectl -n shop describe"),
        (["verify", "shop", "--name", "now"], "Job now goes on: see kubectl -n shop describe job now"),
        (["pause", "shop"], "the change may be made all the same: see kubectl ecommerce status"),
        (["resend-events", "--since", "2026-01-31T08:00:00Z"], "user goes on in its pod. It is done by no service"),
        (["why", "shop"], "nothing was changed"),
        (["support-bundle", "shop"], "nothing was changed"),
    ],
)
def test_an_interrupted_command_says_in_one_line_what_goes_on(
    command: list[str], goes_on: str, cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add(shop())
    _cron_job(cluster)
    verbs = {"why": "get", "pause": "patch", "resend-events": "exec", "support-bundle": "get"}
    run, verb = Kubectl.run, verbs.get(command[0], "wait")

    def interrupted(kubectl: Kubectl, *arguments: str, **options: Any) -> str:
        if arguments[0] == verb:
            raise KeyboardInterrupt
        return run(kubectl, *arguments, **options)

    monkeypatch.setattr(Kubectl, "run", interrupted)
    outcome = plugin(*command)
    assert (outcome.code, outcome.stdout) == (130, "")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("kubectl-ecommerce: interrupted: ")
    assert goes_on in line


def test_a_restore_that_waits_for_a_person_after_all_is_reported_at_once(
    cluster: FakeApiServer, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add(shop())
    cluster.status_of_created = _unfinished("Pending", "DatabasesNotReady", "These databases are not ready: order.")
    _going_on(cluster, monkeypatch, _unfinished("Pending", "BackupMissing", "there is no PlatformBackup before."))
    outcome = plugin("restore", "shop", "--backup", "before", "--name", "now")
    assert outcome.code == 1
    assert "has not begun: it is Pending with BackupMissing" in outcome.stderr.splitlines()[-1]


@pytest.mark.parametrize("time", ["soon", "30", "1h 30m", "-1h"])
@pytest.mark.parametrize("command", [["backup"], ["restore", "--newest"], ["verify"]])
def test_a_time_that_cannot_be_read_is_refused_before_anything_is_created(
    cluster: FakeApiServer, plugin: Plugin, command: list[str], time: str
) -> None:
    cluster.add(shop())
    _cron_job(cluster)
    line = plugin(*command, f"--timeout={time}").error
    assert f"{time} is not a time: write it like 30m or 1h30m" in line
    assert {kind for kind, _, _ in cluster.objects} == {"ecommerceplatforms", "cronjobs"}


@pytest.mark.parametrize(("time", "seconds"), [("90s", 90), ("1h30m", 5400), ("1.5m", 90), ("2ms", 0.002)])
def test_a_time_is_written_as_for_kubectl(time: str, seconds: float) -> None:
    assert waiting.seconds_of(time) == seconds
