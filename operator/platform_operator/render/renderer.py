"""Renders a platform's objects, once for each content."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import yaml

from platform_operator import metrics
from platform_operator.api.kinds import (
    ANNOTATION_WAVE,
    CHILD_KINDS,
    CLUSTER_KINDS,
    LABEL_INSTANCE,
    LABEL_PLATFORM,
    PLATFORM,
    Manifest,
    ObjectId,
    PlatformKey,
    owner_reference,
)
from platform_operator.digests import canonical_json, digest, digest_of_text
from platform_operator.errors import RenderError
from platform_operator.plan.inventory import DesiredObject
from platform_operator.render import names
from platform_operator.render.helm import Helm
from platform_operator.render.store_images import StoreImages
from platform_operator.render.values import ChartValues

T = TypeVar("T")

MAX_UNNAMED = 8
"""Outputs of Helm that are kept in memory. One is a quarter of a megabyte."""


@dataclass
class Renderer:
    """Renders each content once, and runs Helm once for all shops whose values differ in names alone.

    It runs one Helm at a time, since Helm needs half as much memory as the operator itself. See
    docs/adr/0053-helm-runs-once-for-equal-shops.md.
    """

    helm: Helm
    chart: Path
    cache_size: int = 64
    """Rendered contents that are kept in memory."""
    chart_digest: str = field(init=False)
    _cache: OrderedDict[str, tuple[DesiredObject, ...]] = field(init=False, default_factory=OrderedDict)
    _unnamed: OrderedDict[str, str] = field(init=False, default_factory=OrderedDict)
    """What Helm printed for values without names, as JSON."""
    _lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        logging.getLogger("pyhelm3").setLevel(logging.WARNING)  # it logs every command at INFO
        self.chart_digest = chart_digest(self.chart)

    def content_digest(self, key: PlatformKey, uid: str, values: ChartValues, charts: str = "") -> str:
        """Returns the digest of everything that rendering depends on, without rendering.

        `charts` is the digest of other charts than the renderer's own.
        """
        return digest([charts or self.chart_digest, values, key, uid])

    async def render(self, key: PlatformKey, uid: str, values: ChartValues) -> tuple[DesiredObject, ...]:
        """Returns the objects in the order in which they are applied. Raises RenderError."""
        content = self.content_digest(key, uid, values)
        async with self._lock:
            if content not in self._cache:
                text = names.fill_in_names(await self._render_unnamed(key, values), key)
                self._cache[content] = desired_objects(json.loads(text), key, uid)
            _keep_newest(self._cache, content, self.cache_size)
            return self._cache[content]

    async def _render_unnamed(self, key: PlatformKey, values: ChartValues) -> str:
        """Returns the objects with placeholders for the names of the shop, as JSON. Raises RenderError."""
        unnamed = names.replace_names(values, key)
        content = digest(unnamed)
        if content not in self._unnamed:
            try:
                with metrics.RENDER_SECONDS.time():
                    manifests = await self.helm.template(self.chart, names.PLACEHOLDER, unnamed)
            except RenderError as error:
                raise type(error)(names.fill_in_names(str(error), key)) from error
            self._unnamed[content] = json.dumps(manifests, separators=(",", ":"))
        _keep_newest(self._unnamed, content, MAX_UNNAMED)
        return self._unnamed[content]

    def forget(self, key: PlatformKey, uid: str, values: ChartValues) -> None:
        """Forgets a rendered content, so that it is rendered again: Helm may have printed only a part of it."""
        self._cache.pop(self.content_digest(key, uid, values), None)
        self._unnamed.pop(digest(names.replace_names(values, key)), None)


def _keep_newest(cache: OrderedDict[str, T], used: str, size: int) -> None:
    """Marks an entry as used, and removes those beyond `size` that were used least recently."""
    cache.move_to_end(used)
    while len(cache) > size:
        cache.popitem(last=False)


def chart_digest(chart: Path) -> str:
    """Returns the digest of a chart's files, with the dependencies in its charts/ folder."""
    content = hashlib.sha256()
    for path in sorted(chart.rglob("*")):
        if path.is_file():
            content.update(path.relative_to(chart).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:16]


def chart_images(chart: Path) -> StoreImages:
    """Returns the images of stores that the charts of this release name. `chart` is the folder of charts/platform."""
    files = (chart / "charts" / store / "values.yaml" for store in _STORE_CHARTS)
    return StoreImages(*(yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)["image"] for file in files))


_STORE_CHARTS = StoreImages(databases="postgres", cache="redis", broker="rabbitmq")


def desired_objects(manifests: Iterable[Manifest], key: PlatformKey, uid: str) -> tuple[DesiredObject, ...]:
    """Adds the namespace and the owner, which the charts cannot know. Sorts the objects as they are applied."""
    objects = [_desired_object(manifest | {"metadata": _metadata(manifest, key, uid)}) for manifest in manifests]
    return tuple(sorted(objects, key=lambda one: (one.wave, one.id)))


def _metadata(manifest: Manifest, key: PlatformKey, uid: str) -> Manifest:
    """Returns the metadata of an object with its namespace and owner.

    A cluster of an add-on has no owner: with it go its volumes, which `apply.deletion` alone deletes. So it names its
    platform by the label that Argo CD does not know.
    """
    metadata = {**manifest["metadata"], "namespace": key.namespace}
    if manifest["kind"] not in CLUSTER_KINDS:
        return metadata | {"ownerReferences": [owner_reference(PLATFORM, key.name, uid)]}
    labels = {name: value for name, value in metadata["labels"].items() if name != LABEL_INSTANCE}
    return metadata | {"labels": labels | {LABEL_PLATFORM: key.name}}


def _desired_object(manifest: Manifest) -> DesiredObject:
    kind, metadata = manifest["kind"], manifest["metadata"]
    if kind not in CHILD_KINDS or CHILD_KINDS[kind].api_version != manifest["apiVersion"]:
        raise RenderError(f"the charts render a {manifest['apiVersion']} {kind}, which the operator does not watch: "
                          "add it to platform_operator/api/kinds.py and to the operator's ClusterRole")  # fmt: skip
    wave = int((metadata.get("annotations") or {}).get(ANNOTATION_WAVE, "0"))
    text = canonical_json(manifest)
    return DesiredObject(ObjectId(kind, metadata["name"]), wave, digest_of_text(text), text)
