"""`verify`: starts the Job of the scheduled verification now, waits for it, and reports its result."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from typing import Any

from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.commands.waiting import (
    Created,
    add_arguments,
    create_and_report,
    object_name,
    result_report,
)
from kubectl_ecommerce.errors import BackupFailedError, NotFoundError, NothingToDoError
from kubectl_ecommerce.kubectl import JOBS, Kubectl, Manifest
from kubectl_ecommerce.shop import Shop

_SUCCEEDED = ("SuccessCriteriaMet", "Complete")
"""Conditions of a Job that has succeeded. The first one comes earlier, while its pods still end."""
_FAILED = ("FailureTarget", "Failed")
"""Those of a Job that has failed, likewise."""


def run(session: Session) -> Report:
    shop = session.shop()
    job = object_name(session, shop, "-verify")

    def wait(created: Created) -> Report:
        result = _until_verified(created)
        return result_report(shop, {"job": job, "result": result}, _describe(job, result))

    return create_and_report(session, shop, _job(session.kubectl, shop, job), JOBS, wait)


def cron_job_name(shop: str) -> str:
    """Returns the name of the CronJob that the operator makes for `spec.backup.verifySchedule`."""
    return f"{shop}-backup-verify"


def _job(kubectl: Kubectl, shop: Shop, job: str) -> Manifest:
    """Returns a Job of the CronJob, owned by it, so that the operator reports it like a scheduled one."""
    source = f"--from=cronjob.batch/{cron_job_name(shop.name)}"
    printed = ("--namespace", shop.namespace, "--dry-run=client", "--output", "json")
    try:
        manifest: Manifest = json.loads(kubectl.run("create", "job", job, source, *printed))
    except NotFoundError:
        text = f"{shop} has no CronJob {cron_job_name(shop.name)}: set spec.backup.verifySchedule"
        raise NothingToDoError(f"{text}, and see its condition BackedUp if it is set") from None
    return manifest


def _until_verified(created: Created) -> Manifest:
    """Returns what the pod of a verification that has succeeded reports. Raises BackupFailedError."""
    while not created.has_soon('{.status.conditions[?(@.status=="True")].type}'):
        if created.is_overdue:
            look = f"kubectl -n {created.namespace} describe job {created.name}"
            raise BackupFailedError(f"{created} has not ended within {created.timeout} and goes on: see {look}")
    stored = created.read()
    selector = f"batch.kubernetes.io/job-name={created.name}"
    pods = created.kubectl.read("pods", "--namespace", created.namespace, "--selector", selector)["items"]
    conditions = {one["type"]: one for one in stored["status"]["conditions"] if one["status"] == "True"}
    report = _last_report(pods)
    if any(one in conditions for one in _SUCCEEDED):
        return report
    failed: Mapping[str, str] = next((conditions[one] for one in _FAILED if one in conditions), {})
    reason = report.get("reason") or failed.get("reason", "Unknown")
    raise BackupFailedError(f"{created} has failed with {reason}: {report.get('message') or failed.get('message')}")


def _last_report(pods: Iterable[Mapping[str, Any]]) -> Manifest:
    """Returns the termination message of the pod that has ended last, as JSON; empty if it left none."""
    states = (row.get("state", {}) for pod in pods for row in pod.get("status", {}).get("containerStatuses", ()))
    ended = sorted((one["terminated"] for one in states if "terminated" in one), key=lambda one: one["finishedAt"])
    try:
        report = json.loads(ended[-1].get("message", "")) if ended else {}
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _describe(job: str, result: Manifest) -> str:
    if "id" not in result:
        return f"Job {job} has succeeded, and its pod has not reported which backup it has verified"
    count = sum(result.get("invariants", {}).values())
    return f"backup {result['id']} of {result['cut']} is restorable, and its {count} invariants hold"


def _add_arguments(parser: ArgumentParser) -> None:
    add_arguments(parser, "Job")


VERIFY = Command(
    "verify",
    "verify the newest backup of a shop now",
    "Starts a Job from the CronJob of spec.backup.verifySchedule. It restores the newest backup into a scratch server "
    "and checks its invariants there, while the shop serves. Waits until the Job has ended, and fails if the backup is "
    "not restorable. The condition BackedUp of the shop reports the result, too.",
    ("verify", "verify shop -n shop --timeout 3h"),
    run,
    _add_arguments,
    changes=True,
)
