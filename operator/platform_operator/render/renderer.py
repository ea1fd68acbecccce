"""From a spec to manifests: Helm inflates the charts, once for each content."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pyhelm3 import Command
from pyhelm3.errors import Error as HelmError

from platform_operator import metrics
from platform_operator.api.kinds import ANNOTATION_WAVE, CHILDREN, PLATFORM, Key, Manifest, ObjectId
from platform_operator.cache.observed import digest
from platform_operator.errors import RenderError, RenderTimeoutError
from platform_operator.plan.planner import Wanted
from platform_operator.render.values import Values


@dataclass(frozen=True, slots=True)
class Rendered(Wanted):
    """`text` is its JSON: a tenth of the dictionary's size, and most of the time nobody needs it."""

    text: str

    @property
    def manifest(self) -> Manifest:
        manifest: Manifest = json.loads(self.text)
        return manifest


def finish(manifests: Iterable[Manifest], key: Key, uid: str) -> tuple[Rendered, ...]:
    """Adds what the charts cannot know: whose children these are. In the order in which they are to be applied."""
    objects = [rendered(manifest | {"metadata": _owned(manifest["metadata"], key, uid)}) for manifest in manifests]
    return tuple(sorted(objects, key=lambda one: (one.wave, one.id)))


def _owned(metadata: Mapping[str, Any], key: Key, uid: str) -> Manifest:
    return {**metadata, "namespace": key.namespace, "ownerReferences": [owner_reference(key, uid)]}


def owner_reference(key: Key, uid: str) -> Manifest:
    """Makes the garbage collector delete the child with its platform; a foreground deletion waits for it."""
    return {
        "apiVersion": PLATFORM.api_version,
        "kind": PLATFORM.kind,
        "name": key.name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def rendered(manifest: Manifest) -> Rendered:
    kind, metadata = manifest["kind"], manifest["metadata"]
    if kind not in CHILDREN or CHILDREN[kind].api_version != manifest["apiVersion"]:
        raise RenderError(f"the charts render a {manifest['apiVersion']} {kind}, which the operator does not watch: "
                          "add it to platform_operator/api/kinds.py and to the operator's ClusterRole")  # fmt: skip
    wave = int((metadata.get("annotations") or {}).get(ANNOTATION_WAVE, "0"))
    return Rendered(
        ObjectId(kind, metadata["name"]), wave, digest(manifest), json.dumps(manifest, separators=(",", ":"))
    )


def chart_digest(chart: Path) -> str:
    """Stands for the content of a chart and of the dependencies in its charts/ folder."""
    content = hashlib.sha256()
    for path in sorted(chart.rglob("*")):
        if path.is_file():
            content.update(path.relative_to(chart).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:16]


class Helm(Command):  # type: ignore[misc]  # pyhelm3 is untyped
    """pyhelm3's command, parsing with libyaml: its pure-Python loader holds the event loop up for 0.13 s a shop."""

    async def manifests(self, chart: Path, key: Key, chart_values: Values) -> list[Manifest]:
        """Raises RenderError with what the chart itself says is wrong, RenderTimeoutError where it says nothing for too long."""
        command = [
            "template",
            key.name,
            str(chart),
            "--namespace",
            key.namespace,
            "--skip-crds",
            "--no-hooks",
            "--values",
            "-",
        ]
        try:
            async with asyncio.timeout(_HELM_TIMEOUT):
                output: bytes = await self.run(command, json.dumps(chart_values).encode())
        except HelmError as error:
            raise RenderError(f"Helm refuses the values: {_complaint(error.stderr)}") from error
        except TimeoutError as error:
            raise RenderTimeoutError(
                f"Helm did not finish within {_HELM_TIMEOUT:.0f} s: give the operator more CPU"
            ) from error
        return [manifest for manifest in yaml.load_all(output, Loader=yaml.CSafeLoader) if manifest]


_HELM_TIMEOUT = 60.0


def _complaint(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").splitlines()
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return " ".join(errors or lines or ["it says nothing"])


@dataclass
class Renderer:
    """Renders each content once. One Helm at a time: it needs half as much memory as the operator itself."""

    helm: Helm
    chart: Path
    kept: int = 64
    _chart_digest: str = ""
    _cache: OrderedDict[str, tuple[Rendered, ...]] = field(default_factory=OrderedDict)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        logging.getLogger("pyhelm3").setLevel(logging.WARNING)  # it tells of every command at INFO
        self._chart_digest = chart_digest(self.chart)

    def content(self, key: Key, uid: str, chart_values: Values) -> str:
        """Stands for everything that rendering depends on, at the price of a hash."""
        return digest([self._chart_digest, chart_values, key, uid])

    async def render(self, key: Key, uid: str, chart_values: Values) -> tuple[Rendered, ...]:
        """Raises RenderError."""
        content = self.content(key, uid, chart_values)
        async with self._one_at_a_time:
            if content not in self._cache:
                with metrics.RENDER_SECONDS.time():
                    manifests = await self.helm.manifests(self.chart, key, chart_values)
                self._cache[content] = finish(manifests, key, uid)
            self._cache.move_to_end(content)
            while len(self._cache) > self.kept:
                self._cache.popitem(last=False)
            return self._cache[content]
