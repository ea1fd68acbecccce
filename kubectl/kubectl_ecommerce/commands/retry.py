"""`retry`: asks for one more try of an upgrade that has failed."""

from __future__ import annotations

from kubectl_ecommerce.commands.command import Command, Report, Session, patch
from kubectl_ecommerce.errors import NothingToDoError
from kubectl_ecommerce.shop import FAILED_UPGRADES, RETRY_ANNOTATION


def run(session: Session) -> Report:
    shop = session.shop()
    upgrade = shop.upgrade
    if upgrade.get("phase") not in FAILED_UPGRADES:
        raise NothingToDoError(f"{shop} has no upgrade that has failed: see kubectl ecommerce status {shop.name}")
    request = str(int(session.now.timestamp()))
    change = {"metadata": {"annotations": {RETRY_ANNOTATION: request}}}
    return patch(session, shop, change, f"the upgrade to {upgrade['version']} is tried again")


RETRY = Command(
    "retry",
    "retry an upgrade that has failed",
    "Sets the annotation platform.ecommerce.dev/retry-upgrade, which asks the operator to roll out the release again "
    "that has failed on this shop. First correct the cause, which the commands status and why show.",
    ("retry", "retry shop -n shop"),
    run,
    changes=True,
)
