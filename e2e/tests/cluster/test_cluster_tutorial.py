"""The commands of docs/tutorial.md run as they are written and print what it shows."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from devtools.doc_checks import examples, run, stands_for
from shop_e2e.cluster.kubectl import Namespace, eventually, write_kubeconfig
from shop_e2e.cluster.shops import MOST_PODS, limit_pods

pytestmark = [pytest.mark.cluster, pytest.mark.undisturbed]

_TUTORIAL = Path(__file__).parents[3] / "docs/tutorial.md"
_TENANT, _PLAN = "bakery", "starter"
_NOT_TRUE = ("Progressing", "Degraded", "MailConfigured")
"""The conditions that are False in the sample shop, which has no mail server."""


@pytest.fixture
def as_found(namespace: Namespace) -> Iterator[None]:
    """Brings the cluster to the state that the tutorial starts from, and restores it afterwards, whatever the tutorial
    did.
    """
    eventually(lambda: _holds_all_promises(namespace), 90, "the operator has checked the shop's invariants")
    spec = namespace.get("ecp", "shop")["spec"]
    limit_pods(namespace, MOST_PODS)
    namespace.wait_rolled_out("shop")
    yield
    _delete_tenant(namespace)
    namespace.kubectl(
        "patch",
        *("ecp", "shop", "--type", "json"),
        *("--patch", json.dumps([{"op": "replace", "path": "/spec", "value": spec}])),
    )
    namespace.wait_rolled_out("shop")


@pytest.mark.usefixtures("as_found")
async def test_every_command_of_the_tutorial_prints_what_the_page_shows(tmp_path: Path) -> None:
    clone, *lessons = examples(_TUTORIAL)
    assert clone.script.startswith("git clone"), "the reader's clone is this tree"

    printed = await run(lessons, _environment(tmp_path / "kubeconfig"), within=900)

    for lesson, output in zip(lessons, printed, strict=True):
        assert stands_for(lesson.shown, output), f"{lesson.script}prints otherwise than shown:\n{output}"


def _delete_tenant(namespace: Namespace) -> None:
    """Deletes the tenant, its data and its plan, unless the tutorial did."""
    at_once = json.dumps({"spec": {"deleteAfter": "0d"}})
    if namespace.kubectl("get", "tenants", _TENANT, "--ignore-not-found"):
        namespace.kubectl("patch", "tenant", _TENANT, "--type", "merge", "--patch", at_once)
    namespace.kubectl("delete", "tenant", _TENANT, "--ignore-not-found", "--timeout=180s", timeout=200)
    namespace.kubectl("delete", "tenantplan", _PLAN, "--ignore-not-found")


def _holds_all_promises(namespace: Namespace) -> bool:
    conditions = namespace.get("ecp", "shop")["status"]["conditions"]
    return all(one["status"] == "True" for one in conditions if one["type"] not in _NOT_TRUE)


def _environment(kubeconfig: Path) -> dict[str, str]:
    """The environment of a reader: outside of `make`, with a kubectl whose context may be set."""
    write_kubeconfig(kubeconfig)
    reader = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return {**reader, "KUBECONFIG": str(kubeconfig)}
