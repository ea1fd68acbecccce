"""What ails a pod, as the kubelet and the scheduler put it."""

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
    ("ill", "says"),
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
def test_an_ailment_has_the_same_words_at_each_look(ill: dict[str, Any], says: str) -> None:
    assert diagnose([pod("another", **waiting("ContainerCreating")), ill]) == says


@pytest.mark.parametrize(
    "well",
    [
        pod(),
        pod(**waiting("ContainerCreating")),
        pod(state={"running": {}}),
        pod(state={"running": {}}, ready=True, lastState=ENDED, restartCount=3),
        {"metadata": {"name": "p"}},
        pod(**waiting("ErrImagePull")) | {"metadata": {"name": "p", "deletionTimestamp": "now"}},
    ],
)
def test_what_is_starting_serving_or_going_ails_nothing(well: dict[str, Any]) -> None:
    assert diagnose([well]) == ""
