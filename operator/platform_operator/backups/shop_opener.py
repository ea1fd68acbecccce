"""Opens a shop whose databases were restored: until it serves, and each service has checked its invariants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
            ready = stored_condition(shop.status, "Ready")
            blocker = blocker_text(shop)
            stop = None if blocker else stop_by_spec(shop)
            if stop is not None:
                return RestoreOutcome(RestorePhase.OPENING, stop[0], f"The databases are restored. {stop[1]}")
            said = f" {ready['message']}" if is_reopening(shop) and ready else ""
            text = f"The databases are restored, and the services are being started.{blocker or said}"
            return RestoreOutcome(RestorePhase.OPENING, RestoreReason.OPENING, text)
        broken = _broken_invariants(self.scrape_results(shop.key))
        if broken is None and self._is_overdue(restore):
            await self.marks.end(restore, shop)
            text = (
                "The shop serves what was restored. Not all services report their invariants: "
                "kubectl ecommerce invariants shows which."
            )
            return RestoreOutcome(RestorePhase.SUCCEEDED, RestoreReason.SUCCEEDED, text, invariants="unknown")
        if broken is None:
            text = "The shop serves, and its services check their invariants."
            return RestoreOutcome(RestorePhase.OPENING, RestoreReason.CHECKING_INVARIANTS, text)
        await self.marks.end(restore, shop)
        if broken:
            text = (
                f"The shop serves what was restored. Broken invariants: {', '.join(broken)}. The services compare what "
                "they know and correct the most of it within minutes: kubectl ecommerce invariants shows what is left."
            )
            return RestoreOutcome(
                RestorePhase.SUCCEEDED, RestoreReason.INVARIANT_BROKEN, text, invariants=f"{len(broken)} broken"
            )
        text = "The shop serves what was restored, and all invariants hold."
        return RestoreOutcome(RestorePhase.SUCCEEDED, RestoreReason.SUCCEEDED, text, invariants="all hold")

    def _is_overdue(self, restore: Backup) -> bool:
        """Returns whether the services have had the time to check their invariants since the shop serves."""
        closed = restore.status.get("closedSeconds")
        if closed is None:
            return False
        served = datetime.fromisoformat(restore.status["startTime"]) + timedelta(seconds=closed)
        return self.now() - served >= timedelta(seconds=UNKNOWN_AFTER)


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
