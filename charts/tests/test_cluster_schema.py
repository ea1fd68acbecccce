"""Tests that a real API server accepts every field of the charts, and every pod at its Pod Security level."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

Manifest: TypeAlias = dict[str, Any]
Kubectl: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
Helm: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.cluster

OPTIONAL = {"HTTPRoute", "ServiceMonitor"}  # their CRDs are not installed in every cluster
CASES = {
    "defaults": (),
    "everything": (
        *("--set", "ingress.enabled=true,ingress.host=shop.example.com,ingress.tls.secretName=tls"),
        *(
            argument
            for service in ("gateway", "user", "product", "inventory", "order", "payment", "notification", "review")
            for argument in ("--set", f"{service}.autoscaling.enabled=true")
        ),
        *(
            "--set",
            "payment.provider=stripe,global.settings.paymentProvider=stripe,payment.stripe.existingSecret=stripe",
        ),
        *("--set", "notification.smtp.host=mail.example.com,notification.smtp.from=shop@example.com"),
        *("--set", "notification.smtp.existingSecret=smtp"),
        *("--set", "notification.sms.provider=twilio,notification.sms.existingSecret=twilio"),
        *("--set", "global.deletionPolicy=Delete,global.image.registry=localhost:5001,global.image.tag=abc"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_api_server_accepts_every_object_without_a_warning(
    kubectl: Kubectl, render: Callable[..., list[Manifest]], secrets: str, namespace: str, case: str
) -> None:
    manifests = [m for m in render("platform", "--values", secrets, *CASES[case]) if m["kind"] not in OPTIONAL]
    for manifest in manifests:
        manifest["metadata"] = {**manifest["metadata"], "namespace": namespace}
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    apply = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--output=json", "--filename=-")
    done = kubectl("--namespace", namespace, *apply, stdin=document)
    assert (done.returncode, done.stderr) == (0, "")
    for sent, stored in zip(manifests, json.loads(done.stdout)["items"], strict=True):
        assert list(differences(sent, stored)) == [], sent["metadata"]["name"]


def differences(sent: object, stored: object, path: str = "") -> Iterator[str]:
    """Yields each path where the stored object differs from the sent one; ignores fields that the API server adds."""
    if isinstance(sent, dict) and isinstance(stored, dict):
        for key, value in sent.items():
            yield from differences(value, stored.get(key), f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(stored, list) and len(sent) == len(stored):
        for index, (one, other) in enumerate(zip(sent, stored, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif sent != stored:
        yield f"{path}: sent {sent!r}, stored {stored!r}"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("gateway.enabled=true", "port-forward service/shop-gateway 8080:http"),
        (
            "ingress.enabled=true,ingress.host=shop.example.com",
            "Open its API documentation: http://shop.example.com/swagger/",
        ),
        (
            "ingress.enabled=true,ingress.host=a.example.com,ingress.tls.secretName=tls",
            "https://a.example.com/swagger/",
        ),
        ("gateway.enabled=false", "get secret shop-admin"),
    ],
)
def test_the_install_notes_say_what_to_do_next(helm: Helm, secrets: str, values: str, says: str) -> None:
    install = ("install", "shop", "platform", "--dry-run=client", "--kube-context", "kind-ecommerce")
    done = helm(*install, "--values", secrets, "--set", values)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout.partition("\nNOTES:\n")[2]
