"""`rollback`: sets `spec.version` to the version of an earlier release."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kubectl_ecommerce.commands.command import Command, Report, Session, message_report, patch
from kubectl_ecommerce.errors import NothingToDoError
from kubectl_ecommerce.kubectl import Manifest
from kubectl_ecommerce.output import Style, age, table
from kubectl_ecommerce.shop import Shop


@dataclass(frozen=True)
class Release:
    """A release of a shop, from the ControllerRevisions that the operator keeps."""

    revision: int
    version: str
    created: str


def run(session: Session) -> Report:
    shop = session.shop()
    releases = _releases(session, shop)
    if session.arguments.list:
        data = {"namespace": shop.namespace, "name": shop.name, "releases": [vars(one) for one in releases]}
        return Report(data, lambda style: _render(shop, releases, session.now, style))
    version = _named(shop, releases, session.arguments.to) if session.arguments.to else _former(shop, releases)
    before = shop.spec.get("version") or "unset"
    if before == version:
        return message_report(shop, f"spec.version is {version} already")
    done = f"spec.version was {before} and is {version}: watch it with kubectl ecommerce status {shop.name} -n "
    return patch(session, shop, {"spec": {"version": version}}, done + shop.namespace)


def _add_arguments(parser: ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--to", metavar="RELEASE", help="revision or version of a release, as --list shows them")
    choice.add_argument("--list", action="store_true", help="list the releases that are kept, and change nothing")


ROLLBACK = Command(
    "rollback",
    "go back to an earlier version of a shop, or list the versions",
    "Sets spec.version to the version that the shop ran before, or to that of the release that --to names. This is an "
    "upgrade to that version, with its steps. Schemas stay as they are: code that may not run on them is refused, and "
    "the newer version keeps serving. If the shop comes from Git, change it there.",
    ("rollback --list", "rollback", "rollback shop --to 3 -n shop", "rollback shop --to 1.4.2 -n shop"),
    run,
    _add_arguments,
    changes=True,
)


def _releases(session: Session, shop: Shop) -> list[Release]:
    """Returns the releases of a shop, the newest first."""
    labels = f"app.kubernetes.io/instance={shop.name},app.kubernetes.io/component=release"
    found = session.kubectl.read("controllerrevisions.apps", "--namespace", shop.namespace, "--selector", labels)
    return sorted((_release(item) for item in found["items"]), key=lambda one: -one.revision)


def _release(manifest: Manifest) -> Release:
    return Release(manifest["revision"], manifest["data"]["version"], manifest["metadata"].get("creationTimestamp", ""))


def _named(shop: Shop, releases: Sequence[Release], name: str) -> str:
    for one in releases:
        if name in (str(one.revision), one.version):
            return one.version
    raise NothingToDoError(
        f"{shop} has no release {name}: see kubectl ecommerce rollback {shop.name} --list -n {shop.namespace}, or set "
        "spec.version to a version that is not kept"
    )


def _former(shop: Shop, releases: Sequence[Release]) -> str:
    """Returns the version that runs, if the shop is on its way to another one, and else the one that ran before."""
    if shop.version and (shop.target != shop.version or shop.upgrade.get("version", shop.version) != shop.version):
        return shop.version
    former = next((one.version for one in releases if one.version != shop.version), None)
    if former is None or not shop.version:
        raise NothingToDoError(f"{shop} has no release of another version to go back to: it keeps running as it is")
    return former


def _render(shop: Shop, releases: Sequence[Release], now: datetime, style: Style) -> str:
    if not releases:
        return f"{shop}: no releases are recorded yet.\n"
    rows = [
        (str(one.revision), one.version, age(one.created, now), "runs" if one.version == shop.version else "")
        for one in releases
    ]
    return table(("REVISION", "VERSION", "AGE", ""), rows, style)
