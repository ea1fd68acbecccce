"""The operator and `helm install` make the same objects."""

import base64
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from platform_operator.api.kinds import FIELD_MANAGER, LABEL_MANAGED_BY, Manifest, ObjectId, PlatformKey
from platform_operator.api.spec import parse
from platform_operator.plan.inventory import DesiredObject
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer
from platform_operator.render.values import Installation, chart_values
from platform_operator.secrets.credentials import credentials
from platform_operator.secrets.master_key import MasterKey
from platform_operator.secrets.store_tls import StoreTls, builtin_stores

KEY = PlatformKey("shop", "shop")


async def test_helm_install_gives_the_same_objects_except_owners_and_managers(
    charts: Path, helm: str, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text(_run(str(charts / "secrets")))
    image = ["--set=global.image.tag=1.0", "--set=global.image.registry=registry:5000"]
    by_helm = _run(
        helm, "template", "shop", str(charts / "platform"), "--namespace=shop", f"--values={secrets}", *image
    )

    assert _comparable(yaml.safe_load_all(by_helm)) == _comparable(
        one.manifest for one in await _by_operator(charts, helm)
    )


async def _by_operator(charts: Path, helm: str) -> list[DesiredObject]:
    spec = parse({})
    tls = StoreTls(frozenset(builtin_stores(spec)), "", datetime.now(UTC))
    values = chart_values(KEY, spec, Installation("1.0", "registry:5000"), "small")
    rendered = await Renderer(Helm(executable=helm), charts / "platform").render(KEY, "uid", values)
    return [*credentials(KEY, spec, MasterKey(b"k" * 32), {}, tls), *rendered]


def _comparable(manifests: Any) -> dict[ObjectId, Manifest]:
    """Returns the objects by kind and name, without owners and managers, and without the random parts of Secrets."""
    objects = {ObjectId(m["kind"], m["metadata"]["name"]): _stripped(m) for m in manifests if m}
    assert objects
    return objects


def _stripped(manifest: Manifest) -> Manifest:
    if manifest["kind"] == "Secret":
        return {
            key: _without_passwords(key, base64.b64decode(value).decode()) for key, value in manifest["data"].items()
        }
    metadata = {
        name: value for name, value in manifest["metadata"].items() if name not in ("ownerReferences", "namespace")
    }
    labels = {name: value for name, value in metadata["labels"].items() if name != LABEL_MANAGED_BY}
    assert metadata["labels"][LABEL_MANAGED_BY] in (FIELD_MANAGER, "Helm")
    return {**manifest, "metadata": {**metadata, "labels": labels}}


def _without_passwords(key: str, value: str) -> str:
    if key in ("GRPC_TOKENS", "GRPC_CALLERS"):
        return ",".join(sorted(re.sub(r"=[\w-]+", "=random", value).split(",")))
    return (
        "random"
        if key.endswith(("PASSWORD", "SECRET", "_CA", ".crt", ".key"))
        else re.sub(r":[^:/@]+@", ":random@", value)
    )


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
