"""Diagnoses, from what the kubelet and the scheduler report of a pod."""

from typing import Any

import pytest

from platform_operator.status.diagnosis import diagnose


def pod(name: str = "p", conditions: list[dict[str, Any]] | None = None, **status: Any) -> dict[str, Any]:
    container = {"name": "order", "image": "registry/order:9", "ready": False, "restartCount": 0} | status
    return {
        "metadata": {"name": name},
        "status": {"conditions": conditions or [], "containerStatuses": [container] if status else []},
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


ENDED = {"terminated": {"exitCode": 1, "reason": "Error"}}
CRASHES = "CrashLoopBackOff: container order ends with exit code 1 (Error)"
NO_NODE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes: Insufficient cpu.",
}


@pytest.mark.parametrize(
    ("pod_", "problem"),
    [
        (pod(**waiting("ErrImagePull", "rpc error")), "ImagePullBackOff: image registry/order:9 cannot be pulled"),
        (pod(**waiting("ImagePullBackOff", "Back-off")), "ImagePullBackOff: image registry/order:9 cannot be pulled"),
        (
            pod(**waiting("CreateContainerConfigError", 'secret "x" not found')),
            'CreateContainerConfigError: secret "x" not found',
        ),
        (pod(**waiting("CrashLoopBackOff", "back-off 5m"), lastState=ENDED, restartCount=5), CRASHES),
        (pod(state={"running": {}}, lastState=ENDED, restartCount=5), CRASHES),
        (pod(state=ENDED), CRASHES),
        (pod(conditions=[NO_NODE]), "Unschedulable: 0/1 nodes: Insufficient cpu."),
    ],
)
def test_a_diagnosis_stays_the_same_while_its_cause_does(pod_: dict[str, Any], problem: str) -> None:
    assert diagnose([pod("another", **waiting("ContainerCreating")), pod_]) == problem


@pytest.mark.parametrize(
    "healthy",
    [
        pod(),
        pod(**waiting("ContainerCreating")),
        pod(state={"running": {}}),
        pod(state={"running": {}}, ready=True, lastState=ENDED, restartCount=3),
        {"metadata": {"name": "p"}},
        pod(**waiting("ErrImagePull")) | {"metadata": {"name": "p", "deletionTimestamp": "now"}},
    ],
)
def test_pods_that_start_serve_or_terminate_have_no_problem(healthy: dict[str, Any]) -> None:
    assert diagnose([healthy]) == ""
