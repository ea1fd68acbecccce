"""The images of a shop's builtin stores, which an upgrade of the operator does not change.

The charts of a release name an image for each store. A shop takes them over when its stores are created and keeps them,
in `status.storeImages`, until its spec names others. Pure.

docs/adr/0043-stores-keep-their-images.md says why.
"""

from __future__ import annotations

from typing import NamedTuple

from platform_operator.api.kinds import ObjectId
from platform_operator.api.spec import WITH_DATABASE, Spec
from platform_operator.cache.observed import Children, Platform


class StoreImages(NamedTuple):
    """The image of each kind of store, without the registry of the operator's setting. Empty: the charts' own."""

    databases: str = ""
    cache: str = ""
    broker: str = ""


CHARTS_OWN = StoreImages()


def kept_images(platform: Platform, spec: Spec, observed: Children, release: StoreImages) -> StoreImages:
    """Returns the images of a shop: those that the spec names, else those that it has, else those of the release."""
    stated = StoreImages(spec.databases.image or "", spec.cache.image or "", spec.broker.image or "")
    known = platform.status.get("storeImages") or {}
    return StoreImages(
        *(
            own or str(known.get(field, "")) or _running_image(platform.key.name, field, observed, default)
            for field, own, default in zip(StoreImages._fields, stated, release, strict=True)
        )
    )


def _running_image(platform: str, field: str, observed: Children, default: str) -> str:
    """Returns the image that the stores of a shop have of which no image is known, or the default.

    It was created by a release that did not record them. The version of a store is the tag of its image.
    """
    names = [f"{platform}-{component}" for component in _COMPONENTS[field]]
    seen = next((observed[one] for name in names if (one := ObjectId("StatefulSet", name)) in observed), None)
    if seen is None or not seen.image_version or not default:
        return default
    return f"{default.rpartition(':')[0]}:{seen.image_version}"


_COMPONENTS = {
    "databases": tuple(f"{service}-db" for service in WITH_DATABASE),
    "cache": ("redis",),
    "broker": ("rabbitmq",),
}
