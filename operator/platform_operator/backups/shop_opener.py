"""Opens a shop whose databases were restored: until it serves, and each service has checked its invariants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from platform_operator.api.backups import RestorePhase, RestoreReason
from platform_operator.api.conditions import stored_condition
from platform_operator.api.kinds import PlatformKey
from platform_operator.api.restore_marks import restore_mark
from platform_operator.api.spec import WITH_DATABASE
from platform_operator.backups.observed import Backup
from platform_operator.backups.restore_mark_store import RestoreMarkStore, is_open, is_reopening
from platform_operator.backups.restore_status import RestoreOutcome
from platform_operator.backups.shop_specs import blocker_text, stop_by_spec
from platform_operator.cache.observed import Platform
from platform_operator.invariants.scrape_results import UNKNOWN_AFTER, ScrapeResult


@dataclass(frozen=True)
class ShopOpener:
    """Follows the shops of PlatformRestores until they serve."""

    marks: RestoreMarkStore
    scrape_results: Callable[[PlatformKey], Mapping[str, ScrapeResult]]
    now: Callable[[], datetime]

    async def advance(self, restore: Backup, shop: Platform) -> RestoreOutcome:
        """Returns how far the shop is, and ends the restore when the shop serves. Raises ApiError."""
        mark = restore_mark(shop.annotations, shop.status)
        if mark is not None and not mark.uid:  # it was removed before the reconciler had seen it
            await self.marks.set(restore, shop, RestorePhase.OPENING, inconsistent=False)
            return RestoreOutcome(RestorePhase.OPENING, RestoreReason.OPENING, "The services are being started.")
        if mark is not None and mark.uid != restore.uid:
            text = (
                f"The databases were restored, and PlatformRestore {mark.name} replaces them before the shop was open."
            )
            return RestoreOutcome(RestorePhase.FAILED, RestoreReason.OTHER_RESTORE, text)
        if self.marks.is_marked(restore, shop, RestorePhase.OPENING) and not is_open(shop):
            return _starting(shop)
        broken = _broken_invariants(self.scrape_results(shop.key))
        if broken is None and not self._is_overdue(restore):
            text = "The shop serves, and its services check their invariants."
            return RestoreOutcome(RestorePhase.OPENING, RestoreReason.CHECKING_INVARIANTS, text)
        await self.marks.end(restore, shop)
        return _served(broken)

    def _is_overdue(self, restore: Backup) -> bool:
        """Returns whether the services have had the time to check their invariants since the shop serves."""
        closed = restore.status.get("closedSeconds")
        if closed is None:
            return False
        served = datetime.fromisoformat(restore.status["startTime"]) + timedelta(seconds=closed)
        return self.now() - served >= timedelta(seconds=UNKNOWN_AFTER)


def _starting(shop: Platform) -> RestoreOutcome:
    """Returns that the services are being started, or what keeps them stopped."""
    blocker, ready = blocker_text(shop), stored_condition(shop.status, "Ready")
    if not blocker and (stop := stop_by_spec(shop)):
        reason, text = stop
        return RestoreOutcome(RestorePhase.OPENING, reason, f"The databases are restored. {text}")
    said = f" {ready['message']}" if is_reopening(shop) and ready else ""
    text = f"The databases are restored, and the services are being started.{blocker or said}"
    return RestoreOutcome(RestorePhase.OPENING, RestoreReason.OPENING, text)


def _served(broken: Sequence[str] | None) -> RestoreOutcome:
    """Returns the end of a restore whose shop serves, by the broken invariants; None if they are not known."""
    if broken is None:
        text = (
            "The shop serves what was restored. Not all services report their invariants: "
            "kubectl ecommerce invariants shows which."
        )
        return _succeeded(RestoreReason.SUCCEEDED, text, "unknown")
    if broken:
        text = (
            f"The shop serves what was restored. Broken invariants: {', '.join(broken)}. The services compare what "
            "they know and correct the most of it within minutes: kubectl ecommerce invariants shows what is left."
        )
        return _succeeded(RestoreReason.INVARIANT_BROKEN, text, f"{len(broken)} broken")
    text = "The shop serves what was restored, and all invariants hold."
    return _succeeded(RestoreReason.SUCCEEDED, text, "all hold")


def _succeeded(reason: RestoreReason, message: str, invariants: str) -> RestoreOutcome:
    return RestoreOutcome(RestorePhase.SUCCEEDED, reason, message, invariants=invariants)


def _broken_invariants(results: Mapping[str, ScrapeResult]) -> list[str] | None:
    """Returns the invariants that the services report as broken; None until each has checked its own."""
    metrics = {name: results[name].metrics for name in WITH_DATABASE if name in results}
    checked = {name: one for name, one in metrics.items() if one is not None and one.checked}
    if len(checked) < len(WITH_DATABASE):
        return None
    return [
        f"{invariant} of {name} ({_rows(count)})"
        for name, one in checked.items()
        for invariant, count in one.violations.items()
        if count
    ]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
