"""Finds what uses the databases of a shop, or may begin to, while they are to be replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from platform_operator.api.kinds import LABEL_COMPONENT, LABEL_PLATFORM, PlatformKey
from platform_operator.apply.service_pods import pods_of_services, unfinished_pods
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import CRON_JOB
from platform_operator.backups.observed import command_of
from platform_operator.cache.observed import JobProgress
from platform_operator.cache.store import Cache
from platform_operator.plan.hibernation import services_have_pods

_USING_DATABASES = ("create", "restore")
"""Commands. The commands verify and check read the backup alone."""


@dataclass(frozen=True)
class DatabaseClients:
    """The pods that use the databases of shops, and what starts them."""

    jobs: BackupJobs
    shops: Cache
    now: Callable[[], datetime]

    def may_start(self, key: PlatformKey) -> bool:
        """Returns whether a controller may still start a pod that uses a database: the pass over the shop that should
        have stopped them may have failed."""
        observed = self.shops.children(key)
        jobs = (one.state for one in observed.values() if isinstance(one.state, JobProgress))
        crons = (one for one in self.jobs.store.children_of(key) if one.key.id.kind == CRON_JOB.kind)
        return (
            services_have_pods(observed)
            or any(not (one.complete or one.failure) for one in jobs)
            or any(not one.suspended for one in crons)
        )

    async def have_pods(self, key: PlatformKey) -> bool:
        """Returns whether a pod of a service, a migration, a backup or a restore may use a database: that of a deleted
        Job may still run. One on a node that does not answer counts no longer: the restore itself refuses databases
        with other connections."""
        client, now = self.jobs.client, self.now()
        if await pods_of_services(client, key, now):
            return True
        selector = f"{LABEL_PLATFORM}={key.name},{LABEL_COMPONENT}=backup"
        of_backups = await unfinished_pods(client, key, selector, now)
        return any(command_of(one) in _USING_DATABASES for one in of_backups)

    def running_jobs(self, key: PlatformKey) -> list[str]:
        """Returns the Jobs of a shop that use its databases and have not ended."""
        return [
            one.key.id.name
            for one in self.jobs.store.children_of(key)
            if one.job and one.job.command in _USING_DATABASES and one.job.ended is None
        ]
