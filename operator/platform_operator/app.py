"""The composition root: builds every part and runs them until one ends or a signal arrives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp

from platform_operator import metrics
from platform_operator.api.backups import PLATFORM_BACKUP, PLATFORM_RESTORE
from platform_operator.api.kinds import PLATFORM, ObjectKey, PlatformKey
from platform_operator.api.tenants import TENANT, TENANT_PLAN
from platform_operator.backups.controller import BackupController
from platform_operator.backups.jobs import BackupJobs
from platform_operator.backups.objects import BACKUP_SELECTOR
from platform_operator.backups.objects import CHILD_KINDS as BACKUP_KINDS
from platform_operator.backups.restore_controller import RestoreController
from platform_operator.backups.store import BackupStore, schedule_key
from platform_operator.cache.store import Cache
from platform_operator.client import KubernetesClient, connect
from platform_operator.errors import ApiError, LeadershipLostError
from platform_operator.heap import freeze_heap
from platform_operator.http_server import serve
from platform_operator.informers import Informers
from platform_operator.installations import OtherInstallations
from platform_operator.invariants.pod_counter import PodCounter
from platform_operator.invariants.scraper import InvariantScraper, http_fetch
from platform_operator.invariants.step_meter import StepMeter
from platform_operator.leader_election import LeaderElector, LeaseClient
from platform_operator.lease_thread import LeaseThread
from platform_operator.plan.field_fights import FieldFights
from platform_operator.plan.fleet import UpgradePolicy
from platform_operator.plan.job_retries import JobRetries
from platform_operator.reconciler import Reconciler
from platform_operator.reflector import Reflector
from platform_operator.release_chooser import ReleaseChooser
from platform_operator.render.helm import Helm
from platform_operator.render.renderer import Renderer, chart_images
from platform_operator.render.values import Installation
from platform_operator.reporter import Reporter
from platform_operator.rotator import Rotator
from platform_operator.secrets.master_key_store import MasterKeyStore
from platform_operator.secrets.salt import new_salt
from platform_operator.settings import Settings
from platform_operator.status.backups import BackupReport
from platform_operator.status.recorder import EventRecorder
from platform_operator.stored_versions import StorageVersionMigrator
from platform_operator.tasks import first_of, set_on_signal
from platform_operator.tenants.controller import TenantController
from platform_operator.tenants.objects import TENANT_OBJECT_KINDS, TENANT_OBJECT_SELECTOR
from platform_operator.tenants.store import TenantStore
from platform_operator.workqueue import K, Requeue, WorkQueue, run_worker

logger = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises LeadershipLostError when another process took the Lease."""
    own, classed, namespaces = settings.namespace, settings.operator_class, settings.watch_namespaces
    shard = settings.shard

    def elector(client: LeaseClient) -> LeaderElector:
        return LeaderElector(client, own, settings.identity, time.monotonic, classed, namespaces, shard)

    async with LeaseThread(_lease_client, elector) as lease, await connect(lease.require_leadership) as connection:
        client = KubernetesClient(connection)
        others = OtherInstallations(client, own, classed, namespaces, time.monotonic, shard=shard)
        cache = Cache(operator_class=classed, shard=shard)
        await _Operator(settings, client, lease, others, cache, on_cache_filled=freeze_heap).run()


@contextlib.asynccontextmanager
async def _lease_client() -> AsyncIterator[LeaseClient]:
    """Connects for the Lease alone, whose writes do not need leadership: its resourceVersion guards them."""
    async with await connect() as connection:
        yield KubernetesClient(connection)


@dataclass
class _Operator:
    settings: Settings
    client: KubernetesClient
    lease: LeaseThread
    others: OtherInstallations
    cache: Cache = field(default_factory=Cache)
    queue: WorkQueue[PlatformKey] = field(default_factory=lambda: WorkQueue(time.monotonic))
    backup_reports: dict[PlatformKey, BackupReport] = field(default_factory=dict)
    cache_filled: asyncio.Event = field(default_factory=asyncio.Event)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    on_cache_filled: Callable[[], None] = lambda: None
    """Called once, before the first pass begins."""

    async def run(self) -> None:
        settings = self.settings
        metrics.QUEUE_DEPTH.set_function(self.queue.depth)
        queue, namespaces = self.queue, settings.watch_namespaces
        informers = Informers(self.client, self.cache, queue.add, queue.add_spaced, namespaces, settings.identity)
        server = await serve(settings.health_port, settings.metrics_port, self.cache_filled.is_set)
        try:
            await first_of(self._watch(informers), self._resync(informers), self._lead())
        finally:
            await server.cleanup()

    async def _watch(self, informers: Informers) -> None:
        """Starts Kopf after the first lists.

        Kopf discovers resources once, so the CustomResourceDefinition has to be served by then. A signal that arrives
        earlier ends the wait.
        """
        stop = asyncio.Event()
        set_on_signal(stop)
        await first_of(_wait(self.cache_filled), _wait(stop))
        if not stop.is_set():
            await informers.run(stop)

    async def _resync(self, informers: Informers) -> None:
        """Fills the cache, and then compares it with lists regularly, in case the watches lose events."""
        await self._until_answered(informers.fill_cache, "everything")
        self.on_cache_filled()
        self.cache_filled.set()
        interval = self.settings.resync_every
        await first_of(informers.resync_platforms(interval), informers.resync_children(interval))

    async def _lead(self) -> None:
        await self.cache_filled.wait()
        await self.others.wait_for_older()
        await self.lease.acquire()
        await first_of(self.lease.keep_renewing(), self.others.watch(), self._work())

    async def _work(self) -> None:
        await self.others.wait_for_all()
        await self.others.wait_for_resharding()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            fetch = http_fetch(session)
            scraper = InvariantScraper(self.cache, self.queue.add, fetch, time.time)
            recorder = EventRecorder(self.client, self.settings.identity)
            reconciler = self._reconciler(scraper, PodCounter(self.client, fetch), recorder)
            workers = (run_worker(self.queue, reconciler.reconcile) for _ in range(self.settings.workers))
            beside = [scraper.run(), recorder.run(), self._run_backups(scraper, recorder)]
            if not self.settings.watch_namespaces and not self.settings.shard.index:  # of those that see all, the first
                beside.append(StorageVersionMigrator(self.client).run())
            if self.settings.tenant_admin_role:
                beside.append(self._run_tenants(scraper))
            try:
                await first_of(*beside, *workers)
            finally:
                with contextlib.suppress(TimeoutError, LeadershipLostError):
                    async with asyncio.timeout(1):
                        await recorder.flush()

    async def _run_tenants(self, scraper: InvariantScraper) -> None:
        """Watches Tenants, TenantPlans and the objects of tenants, and reconciles tenants; only while leading."""
        queue: WorkQueue[str] = WorkQueue(time.monotonic)
        store = TenantStore(queue.add)
        self.cache.listeners.append(store.enqueue_tenant_of)
        role, selector = self.settings.tenant_admin_role, TENANT_OBJECT_SELECTOR
        reflectors = [Reflector(self.client, store, kind, None, "", self.sleep) for kind in (TENANT_PLAN, TENANT)]
        reflectors += [Reflector(self.client, store, kind, None, selector, self.sleep) for kind in TENANT_OBJECT_KINDS]
        controller = TenantController(
            self.client,
            store,
            self.cache,
            self.queue.add,
            role,
            _now,
            scraper.results,
            queue.tolerates,
            time.time(),
        )
        await self._run_controller(reflectors, queue, controller.reconcile)

    async def _run_backups(self, scraper: InvariantScraper, recorder: EventRecorder) -> None:
        """Watches PlatformBackups, PlatformRestores and their objects, and reconciles them; only while leading."""
        settings = self.settings
        queue: WorkQueue[ObjectKey] = WorkQueue(time.monotonic)
        store = BackupStore(queue.add)
        self.cache.listeners += [lambda key: queue.add(schedule_key(key)), store.enqueue_restores_of]
        for key in self.cache.platforms:
            queue.add(schedule_key(key))
        reflectors = [
            Reflector(self.client, store, kind, namespace, selector, self.sleep)
            for namespace in settings.watch_namespaces or (None,)
            for kind, selector in (
                (PLATFORM_BACKUP, ""),
                (PLATFORM_RESTORE, ""),
                *((kind, BACKUP_SELECTOR) for kind in BACKUP_KINDS),
            )
        ]
        jobs = BackupJobs(self.client, store, Helm(executable=settings.helm), settings.charts / "backup")
        controller = BackupController(
            jobs, self.cache, self._installation(), _now, self.queue.add, recorder, self.backup_reports
        )
        restores = RestoreController(
            jobs, self.cache, self._installation(), _now, scraper.results, self.queue.add, recorder
        )

        async def reconcile(key: ObjectKey) -> Requeue:
            if key.id.kind == PLATFORM_RESTORE.kind:
                return await restores.reconcile(key)
            if key.id.kind == PLATFORM.kind:
                await restores.reconcile_shop(PlatformKey(key.namespace, key.id.name))
            return await controller.reconcile(key)

        await self._run_controller(reflectors, queue, reconcile)

    async def _run_controller(
        self, reflectors: Sequence[Reflector], queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[Requeue]]
    ) -> None:
        """Reconciles the keys of a queue, once everything that it is decided by was listed."""
        for reflector in reflectors:
            await self._until_answered(reflector.list, reflector.kind.plural)
        workers = (run_worker(queue, reconcile) for _ in range(self.settings.workers))
        await first_of(*(reflector.run() for reflector in reflectors), *workers)

    async def _until_answered(self, list_: Callable[[], Awaitable[object]], what: str) -> None:
        """Lists until the API server answers: until then nothing is known of what is listed."""
        while True:
            try:
                await list_()
            except ApiError as error:
                logger.warning("cannot list %s: %s", what, error)
                await self.sleep(5)
            else:
                return

    def _installation(self) -> Installation:
        settings = self.settings
        return Installation(
            settings.version,
            settings.image_registry,
            settings.store_registry,
            settings.namespace,
            settings.image_pull_secrets,
            chart_images(settings.charts / "platform"),
            settings.cloudnativepg_namespace,
        )

    def _reconciler(self, scraper: InvariantScraper, pods: PodCounter, recorder: EventRecorder) -> Reconciler:
        client, cache, settings, installation = self.client, self.cache, self.settings, self._installation()
        renderer = Renderer(Helm(executable=settings.helm), settings.charts / "platform")
        policy = UpgradePolicy(settings.upgrade_canary, settings.upgrade_concurrency)
        meter, fights, retries = StepMeter(scraper.results, pods.count), FieldFights(), JobRetries()
        releases = ReleaseChooser(client, cache, renderer, meter, settings.version, policy, _now)
        metrics.UPGRADES_HALTED.set_function(releases.upgrades_halted)
        return Reconciler(
            client, cache, renderer, MasterKeyStore(client, settings.namespace, cache), installation, releases,
            Rotator(client, cache, settings.version, policy.concurrency, _now),
            Reporter(
                client, cache, recorder, installation.store_images, scraper.results, self.backup_reports, fights,
                retries, _now,
            ),
            _now, new_salt, fights, retries, self.queue.tolerates,
        )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
