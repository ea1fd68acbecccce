"""The operator and `helm install` make the same objects."""

import base64
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_operator.api.kinds import (
    DATABASE_CLUSTER,
    FIELD_MANAGER,
    LABEL_INSTANCE,
    LABEL_MANAGED_BY,
    LABEL_PLATFORM,
    Manifest,
    ObjectId,
    PlatformKey,
)
from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.plan.inventory import DesiredObject
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer
from platform_operator.render.values import Installation, chart_values
from platform_operator.secrets.credentials import derived_secrets
from platform_operator.secrets.master_key import KeyRing, MasterKey
from platform_operator.secrets.store_tls import StoreTls, own_stores

KEY = PlatformKey("shop", "shop")


@pytest.mark.parametrize("provider", ["builtin", "cnpg"])
async def test_helm_install_gives_the_same_objects_except_owners_and_managers(
    charts: Path, helm: str, tmp_path: Path, provider: str
) -> None:
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text(_run(str(charts / "secrets")))
    image = ["--set=global.image.tag=1.0", "--set=global.image.registry=registry:5000"]
    image += [f"--set={service}-db.provider={provider}" for service in WITH_DATABASE]
    by_helm = _run(
        helm, "template", "shop", str(charts / "platform"), "--namespace=shop", f"--values={secrets}", *image
    )

    assert _comparable(yaml.safe_load_all(by_helm)) == _comparable(
        one.manifest for one in await _by_operator(charts, helm, {"databases": {"provider": provider}})
    )


async def _by_operator(charts: Path, helm: str, stated: dict[str, Any]) -> list[DesiredObject]:
    spec = parse(stated)
    tls = StoreTls(frozenset(own_stores(spec)), "", datetime.now(UTC))
    values = chart_values(KEY, spec, Installation("1.0", "registry:5000"), "small")
    rendered = await Renderer(Helm(executable=helm), charts / "platform").render(KEY, "uid", values)
    return [*derived_secrets(KEY, spec, KeyRing(MasterKey(b"k" * 32)), tls).values(), *rendered]


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
    of_managers = (
        LABEL_MANAGED_BY,
        *([LABEL_INSTANCE, LABEL_PLATFORM] if manifest["kind"] == DATABASE_CLUSTER else []),
    )
    labels = {name: value for name, value in metadata["labels"].items() if name not in of_managers}
    assert metadata["labels"][LABEL_MANAGED_BY] in (FIELD_MANAGER, "Helm")
    return {**manifest, "metadata": {**metadata, "labels": labels}}


def _without_passwords(key: str, value: str) -> str:
    if key in ("GRPC_TOKENS", "GRPC_CALLERS"):
        return ",".join(sorted(re.sub(r"=[\w-]+", "=random", value).split(",")))
    return (
        "random"
        if key.lower().endswith(("password", "secret", "_ca", ".crt", ".key"))
        else re.sub(r":[^:/@]+@", ":random@", value)
    )


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
