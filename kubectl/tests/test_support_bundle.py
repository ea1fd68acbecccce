"""The support bundle: it has what the runbooks ask for, and no secret."""

from __future__ import annotations

import base64
import json
import re
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from fake_api_server import FakeApiServer
from kubectl_ecommerce.redaction import Redactor
from kubectl_ecommerce.runbooks import RUNBOOKS
from shops import broken_shop, release

from conftest import Plugin

Manifest = dict[str, Any]

PRIVATE_KEY = (
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqG\nSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n"
)
SECRETS = {
    "shop-order-db": {"DB_HOST": "shop-order-db", "DB_USER": "orders", "DB_PASSWORD": 'p"a/ss\\word%1'},
    "shop-redis": {"REDIS_URL": "rediss://:cachepass@shop-redis:6379/0", "REDIS_PASSWORD": "cachepass"},
    "shop-jwt": {"JWT_SECRET": "c2lnbmluZy1zZWNyZXQ"},
    "shop-order-grpc": {"GRPC_TOKENS": "product=tok-product-0123456789 user=tok-user-0123456789abc"},
    "shop-redis-tls": {"tls.key": PRIVATE_KEY, "tls.crt": "-----BEGIN CERTIFICATE-----\nMIIB\n"},
    "shop-admin": {"ADMIN_EMAIL": "first.admin@example.com", "ADMIN_PASSWORD": "admin-pass-1"},
    "registry": {".dockerconfigjson": json.dumps({"auths": {"r.example.com": {"password": "pull-pass"}}})},
    "smtp": {"SMTP_USER": "mailer", "SMTP_PASSWORD": "mail-pass-1"},
}
PUBLIC = {"DB_HOST", "DB_USER", "SMTP_USER", "tls.crt"}
INSIDE = ("cachepass", "tok-product-0123456789", "tok-user-0123456789abc", "pull-pass")
"""Secrets inside the values of Secrets."""
UNKNOWN = (
    "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "someone@example.org", "4111 1111 1111 1111", "sk_live_abc123",
    "hunter22",
)  # fmt: skip
"""Secrets and personal data that no Secret has."""
LABELS = {"app.kubernetes.io/instance": "shop"}


@pytest.fixture
def broken(cluster: FakeApiServer) -> FakeApiServer:
    """A broken shop, all of whose texts have secrets in them."""
    cluster.add(_everywhere(broken_shop()))
    cluster.add(release(1, "1.4.2"))
    for name, data in SECRETS.items():
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        cluster.add(_object(name) | {"type": "Opaque", "data": encoded}, "Secret", "v1")
    for kind, version in (("StatefulSet", "apps/v1"), ("Deployment", "apps/v1"), ("Job", "batch/v1")):
        cluster.add(_everywhere(_object(f"shop-{kind.lower()}") | {"spec": {}}), kind, version)
    for kind in ("PersistentVolumeClaim", "ResourceQuota", "Service", "ConfigMap"):
        cluster.add(_object(f"shop-{kind.lower()}"), kind, "v1")
    cluster.add(_object("shop-gateway"), "Ingress", "networking.k8s.io/v1")
    event = {"reason": "Repaired", "message": _all_secrets(), "involvedObject": {"kind": "EcommercePlatform"}}
    cluster.add(_object("shop.1") | event, "Event", "v1")
    for pod, restarts in (("shop-order-1", 2), ("shop-order-migrate-25f084f1-x", 0)):
        status = {"containerStatuses": [{"name": "order", "restartCount": restarts}]}
        spec = {"containers": [{"name": "order", "env": _variables()}]}
        cluster.add(_object(pod) | {"spec": spec, "status": status}, "Pod", "v1")
        cluster.logs[pod, "order"] = f'{{"message": "why it fails", "reason": {json.dumps(_all_secrets())}}}\n'
    cluster.logs["shop-order-1", "order/previous"] = f"the last words: {_all_secrets()}\n"
    _operator(cluster)
    return cluster


def _operator(cluster: FakeApiServer) -> None:
    labels = {"app.kubernetes.io/name": "ecommerce-operator"}
    metadata = {"name": "ecommerce-operator-1", "namespace": "ecommerce-system", "labels": labels}
    cluster.add({"metadata": metadata, "spec": {"containers": [{"name": "operator"}]}}, "Pod", "v1")
    cluster.add({"metadata": metadata | {"name": "ecommerce-operator"}, "spec": {}}, "Deployment", "apps/v1")
    lease = {"metadata": metadata | {"name": "ecommerce-operator", "labels": {}}, "spec": {"holderIdentity": "one"}}
    cluster.add(lease, "Lease", "coordination.k8s.io/v1")
    lines = [
        {"event": "reconciled", "platform": "shop/shop"}, {"event": "reconciled", "platform": "other/shop"},
        {"event": f"started with {_all_secrets()}"},
    ]  # fmt: skip
    cluster.logs["ecommerce-operator-1", "operator"] = "".join(f"{json.dumps(line)}\n" for line in lines)


def _object(name: str) -> Manifest:
    return {"metadata": {"name": name, "namespace": "shop", "labels": LABELS}}


def _all_secrets() -> str:
    """Returns a text with every secret, as it is and in Base64."""
    values = [value for data in SECRETS.values() for key, value in data.items() if key not in PUBLIC]
    encoded = [base64.b64encode(value.encode()).decode() for value in values]
    named = f"Authorization: Bearer {UNKNOWN[0]} by {UNKNOWN[1]} with {UNKNOWN[2]}, api_key={UNKNOWN[3]}"
    return f"{' '.join([*values, *encoded, *INSIDE])} {named} amqp://order:{UNKNOWN[4]}@shop-rabbitmq:5671/"


def _everywhere(manifest: Manifest) -> Manifest:
    """Returns an object with secrets in annotations, in what the last writer has kept, and in its settings."""
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": _all_secrets()}
    services = {"order": {"env": {"MY_PASSWORD": "hunter22", "OTEL_EXPORTER_OTLP_HEADERS": "hunter22", "PAGE": "12"}}}
    metadata = manifest["metadata"] | {"annotations": annotations, "managedFields": [{"manager": "kubectl"}]}
    return manifest | {"metadata": metadata, "spec": manifest["spec"] | {"services": services}}


def _variables() -> list[Manifest]:
    return [{"name": "STRIPE_SECRET", "value": "sk_live_abc123"}, {"name": "DB_HOST", "value": "shop-order-db"}]


def _files(plugin: Plugin, folder: Path) -> dict[str, str]:
    """Returns the files of a bundle, without the folder that they are in."""
    path = folder / "bundle.tar.gz"
    plugin("support-bundle", "shop", "--file", str(path)).text  # noqa: B018
    with tarfile.open(path) as archive:
        members = [(name.partition("/")[2], archive.extractfile(name)) for name in archive.getnames()]
        return {name: file.read().decode() for name, file in members if file}


def test_no_secret_and_no_personal_data_is_in_any_file(broken: FakeApiServer, plugin: Plugin, tmp_path: Path) -> None:
    files = _files(plugin, tmp_path)
    whole = "\n".join(files.values())
    for name, data in SECRETS.items():
        for key, value in data.items():
            encoded = base64.b64encode(value.encode()).decode()
            forms = (value, value.strip(), json.dumps(value)[1:-1], encoded)
            assert key in PUBLIC or not [form for form in forms if form in whole], (name, key)
    for secret in (*INSIDE, *UNKNOWN):
        assert secret not in whole, secret
    assert "MIGHAgEAMBMGByqGSM49AgEGCCqG" not in whole
    assert '"DB_PASSWORD"' in files["secrets.json"]
    assert '"PAGE": "12"' in files["platform.json"]
    assert '"value": "shop-order-db"' in files["objects/pod.json"]


def test_without_the_right_to_read_secrets_they_are_recognized_by_their_form(
    broken: FakeApiServer, plugin: Plugin, tmp_path: Path
) -> None:
    broken.forbidden.add("secrets")
    files = _files(plugin, tmp_path)
    whole = "\n".join(files.values())
    for secret in (*UNKNOWN, "cachepass@", "MIGHAgEAMBMGByqGSM49AgEGCCqG", "first.admin@example.com"):
        assert secret not in whole, secret
    manifest = json.loads(files["MANIFEST.json"])
    assert manifest["redaction"].startswith("The Secrets could not be read")
    assert "secrets is forbidden" in manifest["missing"]["secrets"]


def test_it_has_what_the_runbooks_ask_for(broken: FakeApiServer, plugin: Plugin, tmp_path: Path) -> None:
    files = _files(plugin, tmp_path)
    for reason, runbook in RUNBOOKS.items():
        assert any(re.fullmatch(_asked_for(runbook.command), name) for name in files), (reason, runbook.command)
    assert "why it fails" in files["logs/shop-order-migrate-25f084f1-x/order.log"]
    assert "the last words" in files["logs/shop-order-1/order.previous.log"]
    assert "MigrationFailed" in files["why.txt"]


def _asked_for(command: str) -> str:
    """Returns a pattern of the file that has what a command prints."""
    if command.startswith("kubectl ecommerce"):
        return re.sub("retry|wake", "status", command.split()[2]) + r"\.txt"
    place = "operator/" if "ecommerce-system" in command else ""
    verb = re.sub(r"-n \S+ ", "", command).split()[1]
    if verb == "logs":
        return place + r"logs/.+\.log"
    if verb == "events":
        return r"events\.json"
    word = re.sub(r"-n \S+ ", "", command).split()[2]
    names = {
        "ecp": "platform", "secret": "secrets", "secrets": "secrets", "resourcequota": "resourcequotas",
        "pods": "objects/pod", "pvc": "objects/persistentvolumeclaim", "ingress,service": "objects/ingress",
        "deployment": "objects/deployment", "{kind}": "objects/deployment", "platformbackups,jobs": "platformbackups",
        "platformrestores": "platformrestores",
    }  # fmt: skip
    return f"({place})?{names[word]}\\.json"


def test_the_operators_log_has_the_lines_about_this_shop(broken: FakeApiServer, plugin: Plugin, tmp_path: Path) -> None:
    log = _files(plugin, tmp_path)["operator/logs/ecommerce-operator-1/operator.log"]
    assert '"shop/shop"' in log
    assert "started with" in log
    assert "other/shop" not in log


def test_the_manifest_lists_the_files_and_what_is_missing(
    broken: FakeApiServer, plugin: Plugin, tmp_path: Path
) -> None:
    broken.forbidden |= {"ingresses", "leases"}
    files = _files(plugin, tmp_path)
    manifest = json.loads(files["MANIFEST.json"])
    assert {*manifest["files"]} == {*files} - {"MANIFEST.json"}
    assert {*manifest["missing"]} == {"objects/ingresses.networking.k8s.io", "operator/leases"}
    assert "objects/pod.json" in files


def test_it_has_the_clusters_of_add_ons_that_are_installed(
    broken: FakeApiServer, plugin: Plugin, tmp_path: Path
) -> None:
    broken.add(_object("shop-order-db") | {"spec": {}}, "Cluster", "postgresql.cnpg.io/v1")
    broken.add(_object("shop-rabbitmq") | {"spec": {}}, "RabbitmqCluster", "rabbitmq.com/v1beta1")
    files = _files(plugin, tmp_path)
    assert "shop-order-db" in files["objects/cluster.json"]
    assert "shop-rabbitmq" in files["objects/rabbitmqcluster.json"]


def test_add_ons_that_are_not_installed_are_not_missing(
    broken: FakeApiServer, plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))  # the other one has what other tests serve
    del broken.kinds["postgresql.cnpg.io/v1"], broken.kinds["rabbitmq.com/v1beta1"]
    files = _files(plugin, tmp_path)
    assert json.loads(files["MANIFEST.json"])["missing"] == {}


def test_the_archive_is_its_owners_alone_and_replaces_no_file(
    broken: FakeApiServer, plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "support-shop-shop-20260131T120000Z.tar.gz"
    assert f"shop/shop: {path.name} has " in plugin("support-bundle").text
    assert path.stat().st_mode & 0o777 == 0o600
    assert "cannot be created (File exists): name another one with --file" in plugin("support-bundle").error


LEAKS = (
    "AWS_SECRET_ACCESS_KEY=hunter22",
    "BACKUP_S3_SECRET_ACCESS_KEY: hunter22",
    "BACKUP_KEY=hunter22=",
    "secret_key=hunter22",
    "SMTP_PASSWORD=hunter22",
    "MYSQL_PWD=hunter22 RABBITMQ_DEFAULT_PASS=hunter22",
    "STRIPE_API_KEY_PREVIOUS='hunter22'",
    "X-Api-Key: hunter22",
    "api key: hunter22",
    "Authorization: Basic hunter22aHVudGVyMjI=",
    "authorization: hunter22",
    'Authorization: Digest username="order", response="hunter22"',
    "sent Basic aHVudGVyMjI6hunter22",
    "Cookie: session=hunter22; other=hunter22",
    "Set-Cookie: session=hunter22; Path=/; HttpOnly",
    '{"event": "body {\\"password\\": \\"hunter22\\"}"}',
    '{"event": "body {\\"event\\": \\"{\\\\\\"password\\\\\\": \\\\\\"hunter22\\\\\\"}\\"}"}',
    '{"password": "ab, cd; hunter22"}',
    '{"password": "a\\"b hunter22"}',
    '{"event": "the line ends: password=\\"hunter22',
    '{"event": "\\npassword=hunter22\\nBACKUP_KEY=hunter22"}',
    "event:password=hunter22",
    "DatabaseSettings(db_host='shop-order-db', db_password=b'hunter22', token=SecretStr('hunter22'))",
    '"cookie": ["a=hunter22", "b=hunter22"]',
    "map[Authorization:[Basic hunter22] Accept:[*/*]]",
    "[(b'host', b'shop'), (b'authorization', b'Basic hunter22')]",
    '{"name": "DB_PASSWORD", "value": "hunter22"}',
    "- name: BACKUP_KEY\n  value: hunter22\n",
    "login --password hunter22",
    "login --token=hunter22 --auth-token 'hunter22'",
    'args: ["--password", "hunter22"]',
    "curl -u order:hunter22 https://shop.example.com",
    "GET /callback?access_token=hunter22&x=1",
    "https://bucket/x?X-Amz-Signature=hunter22&X-Amz-Expires=60",
    "CREATE ROLE orders LOGIN PASSWORD 'hunter22'",
    'the password is "hunter22"',
    "postgres://orders:hunter22@shop-order-db/order",
    "postgres://orders:a@b/hunter22@shop-order-db/order",
    "amqp://a:hunter22@one:5671,amqp://b:hunter22@two:5671",
    "paid with sk_live_hunter22",
    "whsec_hunter22 ghp_hunter22abc",
    "log:eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.hunter22",
    "tls_key: -----BEGIN EC PRIVATE KEY-----\nhunter22\n-----END EC PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\nhunter22hunter22\nhunter22\n",
    "MIGHAgEAMBMGByqGSM49hunter22\nhunter22hunter22\n-----END PRIVATE KEY-----\n",
)


@pytest.mark.parametrize("text", LEAKS)
def test_a_secret_is_recognized_by_its_form(text: str) -> None:
    assert "hunter22" not in Redactor([]).text(text)


def test_a_text_keeps_what_stands_around_its_secrets() -> None:
    text = Redactor([]).text
    assert text('{"password": "hunter22", "order": "o1"}') == '{"password": "[redacted]", "order": "o1"}'
    assert text("Authorization: Basic aHVudGVyMjI= 401") == "Authorization: Basic [redacted] 401"
    assert text("amqp://a:hunter22@one,amqp://b@two") == "amqp://a:[redacted]@one,amqp://b@two"
    assert text("token=hunter22&page=2") == "token=[redacted]&page=2"


@pytest.mark.parametrize(
    "settings",
    [
        {"env": {"AWS_SECRET_ACCESS_KEY": "hunter22"}},
        {"env": {"SECRET_KEY": "hunter22", "BACKUP_KEY": "hunter22", "STRIPE_API_KEY": "hunter22"}},
        {"env": {"DB_PASSWORD_PREVIOUS": "hunter22", "SMTP_PASS": "hunter22", "apiKey": "hunter22"}},
        {"env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "hunter22"}, {"name": "SECRET_KEY", "value": "hunter22"}]},
        {"httpHeaders": [{"name": "Authorization", "value": "hunter22"}, {"name": "Cookie", "value": "a=hunter22"}]},
        {"args": ["--password", "hunter22"]},
        {"args": ["--token=hunter22", "-auth-token", "hunter22", "--verbose"]},
        {"command": ["sh", "-c", "run --api-key hunter22"]},
        {"apiKeys": ["hunter22"], "password": 12345678, "old": {"password": ["hunter22"]}},
    ],
)
def test_a_secret_of_a_manifest_is_recognized_by_its_name(settings: Manifest) -> None:
    redacted = str(Redactor([]).manifest({"metadata": {"name": "shop"}, "spec": settings}))
    assert "hunter22" not in redacted
    assert "12345678" not in redacted


def test_a_manifest_keeps_what_runbooks_need() -> None:
    manifest = {
        "metadata": {
            "name": "shop-api-token",
            "resourceVersion": "123456",
            "annotations": {"checksum/secret": "0a1b2c", "platform.ecommerce.dev/secret-revision": "r1"},
        },
        "spec": {
            "imagePullSecrets": [{"name": "registry"}],
            "settings": {"grpcAuthentication": "Required", "user": {"accessTokenSeconds": 900, "token": True}},
            "backup": {"encryptionKeySecretRef": {"name": "shop-backup-key", "key": "BACKUP_KEY"}},
            "ingress": {"tls": {"secretName": "shop-tls"}},
            "env": [
                {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "shop-order-db", "key": "DB_PASSWORD"}}},
                {"name": "AWS_ACCESS_KEY_ID", "value": "AKIAIOSFODNN7EXAMPLE"},
                {"name": "IMAGE_PULL_SECRETS", "value": "registry,other"},
                {"name": "TOKEN", "value": "$(DB_PASSWORD)"},
                {"name": "TOKEN", "value": ""},
            ],
            "args": ["--password-file", "/run/secrets/db", "--token", "--verbose"],
            "topologyKey": "kubernetes.io/hostname",
        },
        "status": {
            "masterKeyId": "3f2a9c",
            "secrets": [{"field": "spec.backup", "name": "shop-backup-key", "ready": True, "revision": "r1"}],
        },
    }
    assert Redactor([]).manifest(manifest) == manifest


@pytest.mark.parametrize(
    "text",
    [
        "secretName: shop-redis-tls",
        'secrets "shop-order-db" not found',
        "the Secret shop-order-db has no key DB_PASSWORD",
        "Secret shop-backup: BACKUP_KEY and DB_PASSWORD are missing",
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        '{"key_id": "3f2a9c", "masterKeyId": "3f2a9c", "token_type": "refresh"}',
        '{"resourceVersion": "123456", "uid": "0f8fad5b-d9cb-469f-a165-70867728950e"}',
        '{"message": "there is no token:", "service": "order"}',
        "routing_key=order.placed.v1 idempotency_key=k1",
        "IMAGE_PULL_SECRETS=registry,other",
        "accessTokenSeconds: 900, passwordSecretRef: shop-order-db",
        'FATAL: password authentication failed for user "orders"',
        'duplicate key value violates unique constraint "orders_pkey"',
        "Basic authentication is required",
        "DB_PASSWORD=$(DB_PASSWORD) postgresql://$(DB_USER):$(DB_PASSWORD)@$(DB_HOST)/order",
        "http://shop-gateway.shop.svc:8080/orders?since=1",
        "kubectl -n shop get secret shop-order-db -o jsonpath='{.data}'",
        "kubectl create secret generic shop-backup-key --from-file BACKUP_KEY",
        "automountServiceAccountToken: true",
        "order 12345678901234567",
        "shop/shop at 12:00",
    ],
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert Redactor([]).text(text) == text


def test_a_long_line_is_redacted_in_time_that_grows_with_its_length() -> None:
    begun = time.process_time()
    for part in (
        "eyJ",
        "password",
        "a=",
        "-----BEGIN PRIVATE KEY-----",
        '\\"',
        "x://y:z",
        "--token ",
        "Ab1" * 9 + "\n",
    ):
        Redactor([]).text(part * (50_000 // len(part)))
    assert time.process_time() - begun < 10, "quadratic patterns take minutes"
