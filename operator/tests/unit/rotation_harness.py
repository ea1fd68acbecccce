"""A shop of fake pods that read their Secrets when they start, and a check that all of them understand each other."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from test_reconciler import FakeCluster, FakeHelm, Manifest, rendered

from platform_operator.api.kinds import ANNOTATION_GENERATION, PLATFORM, Kind, ObjectId, PlatformKey
from platform_operator.api.spec import NEIGHBOURS, SERVICES, WITH_BROKER, WITH_CACHE, WITH_DATABASE
from platform_operator.secrets.rotation import ANNOTATION_ROTATE
from platform_operator.workqueue import Requeue

KEYS_ARE_CACHED = timedelta(minutes=5)
TOKENS_LIVE = timedelta(days=3)
STORES_LAG = timedelta(minutes=4)
"""How long a store may go on with what its Secret had."""


@lru_cache
def is_signed_by(certificate: str, authorities: str) -> bool:
    """Returns whether one of the authorities has signed a certificate."""
    shown = x509.load_pem_x509_certificate(certificate.encode())
    return any(_has_issued(one, shown) for one in x509.load_pem_x509_certificates(authorities.encode()))


def _has_issued(authority: x509.Certificate, shown: x509.Certificate) -> bool:
    try:
        shown.verify_directly_issued_by(authority)
    except InvalidSignature:
        return False
    return True


class Killed(BaseException):
    """The operator's process has died."""


class ShopHelm(FakeHelm):
    """A Helm whose chart has the migration and the Deployment of every service."""

    async def template(self, chart: Path, key: PlatformKey, chart_values: Manifest) -> list[Manifest]:
        self.runs += 1
        return [manifest for service in SERVICES for manifest in self._service(service, chart_values[service])]

    def _service(self, service: str, values: Manifest) -> Iterator[Manifest]:
        if service in WITH_DATABASE:
            migration = values.get("migration", {})
            rotation = migration.get("rotation", {"generation": 0, "step": ""})
            owner = migration.get("ownerRotation", {"generation": 0, "replaces": False})
            name = f"shop-{service}-migrate-{rotation['generation']}{rotation['step'].lower()}-{owner['generation']}"
            name += "-replaces" if owner["replaces"] else ""
            yield rendered("batch/v1", "Job", name, 2, {"step": rotation["step"], "replaces": owner["replaces"]})
        mark = values.get("podAnnotations", {}).get(ANNOTATION_GENERATION, "")
        yield rendered("apps/v1", "Deployment", f"shop-{service}", 3, {"replicas": 1, "mark": mark})


@dataclass(frozen=True)
class Pod:
    """A running pod, with the values that its Secrets had when it started."""

    service: str
    mark: str
    env: Mapping[str, str] = field(repr=False)

    def pairs(self, variable: str) -> set[tuple[str, str]]:
        text = self.env.get(variable, "")
        return {(name, value) for name, value in (pair.split("=") for pair in text.split(",") if pair)}


WRITES_OF_A_PASS = 60
"""More writes than any pass makes: an operator that always dies in its first pass goes no further."""


def each(first: int) -> Callable[[int, str], bool]:
    """Returns the choice of one write of every sixty."""
    return lambda done, write: done % WRITES_OF_A_PASS == first


def of(text: str) -> Callable[[int, str], bool]:
    """Returns the choice of all writes with this text, which names an object."""
    return lambda done, write: text in write


@dataclass
class RotatingShop:
    """A platform with pods, roles of databases, and tokens of customers. `check` runs whenever any of them changes."""

    cluster: FakeCluster
    dies_after: Callable[[int, str], bool] = lambda number, write: False
    """Decides whether an operator dies after a write, given its number and its text."""
    pods: list[Pod] = field(default_factory=list)
    roles: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """The passwords of login roles, by service and name. None: it may not log in."""
    owners: dict[str, str] = field(default_factory=dict)
    """The passwords of the owners of databases, by service. The first pod of a database sets that of its Secret."""
    proven: dict[str, str] = field(default_factory=dict)
    """The passwords with which a migration that knew no other one logged in last, by service."""
    signed: dict[str, datetime] = field(default_factory=dict)
    """When a signing secret was used last."""
    published: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)
    """The secrets whose public keys a pod published, and when it did so last."""
    accepted: list[tuple[datetime, frozenset[tuple[str, str]]]] = field(default_factory=list)
    """The users and passwords that the Secrets of Redis and RabbitMQ had, and when they had them last."""
    served: list[tuple[datetime, dict[str, str]]] = field(default_factory=list)
    """The certificates that the Secrets of the stores had, by store, and when they had them last."""
    admin_password: str = ""
    """The password of the first admin, which the first pod of the user service registers."""
    writes: int = 0
    deaths: int = 0
    starts: int = 0
    """Pods that were started."""
    _is_dead: bool = False

    @classmethod
    def new(cls, tmp_path: Path) -> RotatingShop:
        cluster = FakeCluster(tmp_path)
        cluster.helm = ShopHelm()
        cluster.restart()
        shop = cls(cluster)
        cluster.server.apply = shop._dying(cluster.server.apply)  # type: ignore[method-assign]
        cluster.server.delete = shop._dying(cluster.server.delete)  # type: ignore[method-assign]
        return shop

    def die_once_after(self, dies_after: Callable[[int, str], bool]) -> None:
        """Lets an operator die once after each such write, in each step of the rotation."""
        deaths: set[tuple[int, str]] = set()

        def dies_once(done: int, write: str) -> bool:
            at = (self.starts, write)
            if not dies_after(done, write) or at in deaths:
                return False
            deaths.add(at)
            return True

        self.dies_after = dies_once

    def _dying(self, call: Any) -> Any:
        """Makes a write the last one of the operator's process, when it is its turn."""

        async def write(*arguments: Any, **named: Any) -> Any:
            if self._is_dead:
                raise Killed
            self._count_generations(*arguments)
            answer = await call(*arguments, **named)
            self.writes += 1
            if self.dies_after(self.writes, self.cluster.server.writes[-1]):
                self._is_dead = True
                raise Killed
            return answer

        return write

    def _count_generations(self, kind: Kind, _: str, manifest: Manifest | str, *more: Any) -> None:
        """Counts the specs of Deployments, as the API server does: until it is rolled out, its status is of another."""
        if kind.kind == "Deployment" and isinstance(manifest, dict):
            stored = self.cluster.server.objects.get((kind.kind, manifest["metadata"]["name"]))
            if stored and stored["spec"] != manifest["spec"]:
                stored["metadata"]["generation"] += 1

    # The operator.

    async def reconcile(self) -> Requeue:
        """Makes one pass. An operator that dies in it is followed by another, with an empty memory."""
        try:
            return await self.cluster.make_pass()
        except Killed:
            self.deaths, self._is_dead = self.deaths + 1, False
            self.cluster.restart()
            return Requeue.after(0)

    def ask(self, request: str, **spec: Any) -> None:
        """Annotates the platform with a request, and replaces its spec."""
        self.cluster.spec(spec, annotations={ANNOTATION_ROTATE: request})

    async def reach(self, step: str) -> None:
        """Lets time pass until a step of a rotation is recorded, from which nothing has followed yet."""
        while True:
            requeue = await self.reconcile()
            if any(one["step"] == step for one in self.rows.values()):
                return
            if not (self.run_jobs() + self.roll_out()):
                assert requeue.delay is not None, f"no rotation comes to {step}"
                self.cluster.now += timedelta(seconds=requeue.delay)

    async def settle(self) -> float | None:
        """Runs the operator and the controllers until neither has anything to do now.

        Returns the seconds after which the operator wants to look again.
        """
        for _ in range(200):
            requeue = await self.reconcile()
            has_changed = self.run_jobs() + self.roll_out()
            if not (has_changed or requeue.delay == 0):
                return requeue.delay
        raise AssertionError("the shop does not settle")

    async def finish(self) -> None:
        """Lets time pass, in which customers log in, until the operator has nothing to wait for."""
        while (delay := await self.settle()) is not None:
            self.cluster.now += timedelta(seconds=delay)
            self.check()

    def states(self) -> dict[str, tuple[int, str]]:
        """Returns the generation and the step of each kind."""
        return {name: (row["generation"], row["step"]) for name, row in self.rows.items()}

    @property
    def rows(self) -> dict[str, Any]:
        """The rows of `status.rotation`, by name."""
        status = self.cluster.server.objects[PLATFORM.kind, "shop"]["status"]
        return {row["name"]: row for row in status.get("rotation", [])}

    # The controllers and the servers.

    def run_jobs(self) -> bool:
        """Completes the Jobs that wait, as the migrations of the services do."""
        waiting = [
            one for (kind, _), one in self.cluster.server.objects.items() if kind == "Job" and "status" not in one
        ]
        for job in waiting:
            service = job["metadata"]["name"].split("-")[1]
            self._check_authority(f"the migration of {service}", f"{service}-db", self.secret(f"{service}-db")["DB_CA"])
            self._log_in_as_owner(service, replaces=job["spec"]["replaces"])
            secret, step = self.secret(f"{service}-db-runtime"), job["spec"]["step"]
            prefix = "DB_NEXT" if step == "Publish" else "DB"
            self.roles[service, secret[f"{prefix}_USER"]] = secret[f"{prefix}_PASSWORD"]
            if step == "Retire":
                self.roles[service, secret["DB_RETIRED_USER"]] = None
            self.cluster.come_up(ObjectId("Job", job["metadata"]["name"]))
            self.check()
        return bool(waiting)

    def _log_in_as_owner(self, service: str, *, replaces: bool) -> None:
        """Logs in with what a migration reads, and replaces the former password as it does."""
        secret = self.secret(f"{service}-db")
        known = [secret["DB_PASSWORD"], *([secret["DB_PREVIOUS_PASSWORD"]] if replaces else [])]
        assert self.owners.setdefault(service, known[0]) in known, f"the migration of {service} cannot log in"
        self.owners[service] = known[0]
        if not replaces:
            self.proven[service] = known[0]

    def roll_out(self) -> bool:
        """Replaces the pods of changed Deployments one after another: a new pod starts before the old one ends."""
        changed = False
        for service in SERVICES:
            stored = self.cluster.server.objects.get(("Deployment", f"shop-{service}"))
            if stored is None or any(pod.mark == stored["spec"]["mark"] for pod in self.pods_of(service)):
                continue
            old = self.pods_of(service)
            self.pods.append(self.start(service, stored["spec"]["mark"]))
            self.starts += 1
            self.check()
            self.pods = [pod for pod in self.pods if pod not in old]
            self.check()
            self.cluster.come_up(ObjectId("Deployment", f"shop-{service}"))
            stored["status"]["observedGeneration"] = stored["metadata"]["generation"]
            changed = True
        return changed

    def start(self, service: str, mark: str) -> Pod:
        names = [f"{service}-grpc", *([f"{service}-db-runtime"] if service in WITH_DATABASE else [])]
        names += ["jwt", "admin"] if service == "user" else []
        names += ["redis"] if service in WITH_CACHE else []
        names += [f"{service}-broker"] if service in WITH_BROKER else []
        env = {name: value for secret in names for name, value in self.secret(secret).items()}
        if service == "user" and self.admin_password in ("", env.get("ADMIN_PASSWORD_PREVIOUS")):
            self.admin_password = env["ADMIN_PASSWORD"]
        return Pod(service, mark, env)

    def pods_of(self, service: str) -> list[Pod]:
        return [pod for pod in self.pods if pod.service == service]

    def secret(self, component: str) -> dict[str, str]:
        data = self.cluster.server.objects["Secret", f"shop-{component}"]["data"]
        return {name: base64.b64decode(value).decode() for name, value in data.items()}

    # What must hold at any time.

    def check(self) -> None:
        """Fails if a pod cannot log in to a store, call its neighbours, or verify a token of a customer."""
        for pod in self.pods:
            if "DB_USER" in pod.env:
                assert self.roles[pod.service, pod.env["DB_USER"]] == pod.env["DB_PASSWORD"], f"{pod} cannot log in"
            self._check_calls(pod)
        self._check_tokens()
        self._check_logins()
        self._check_certificates()
        for service, password in self.owners.items():
            known = self.secret(f"{service}-db")
            assert password in (known["DB_PASSWORD"], known.get("DB_PREVIOUS_PASSWORD")), f"{service} is locked out"

    def _check_calls(self, caller: Pod) -> None:
        tokens = dict(caller.pairs("GRPC_TOKENS"))
        for service in NEIGHBOURS[caller.service]:
            digest = hashlib.sha256(tokens[service].encode()).hexdigest()
            for callee in self.pods_of(service):
                assert (caller.service, digest) in callee.pairs("GRPC_CALLERS"), f"{callee} refuses {caller}"

    def _check_tokens(self) -> None:
        now, users = self.cluster.now, self.pods_of("user")
        known = [frozenset(value for name, value in pod.env.items() if name.startswith("JWT_SECRET")) for pod in users]
        self.published = [one for one in self.published if now - one[0] < KEYS_ARE_CACHED]
        self.published += [(now, secrets) for secrets in known]
        self.signed |= {pod.env["JWT_SECRET"]: now for pod in users}
        for secret, at in self.signed.items():
            if now - at <= TOKENS_LIVE:
                assert all(secret in secrets for secrets in known), "a token that has not expired is refused"
            if at == now:
                cached = [secrets for _, secrets in self.published]
                assert all(secret in secrets for secrets in cached), "a service has cached keys without the one in use"

    def _check_logins(self) -> None:
        """A store that runs accepts what its Secrets have, or had some minutes ago: both have what a pod uses."""
        now = self.cluster.now
        self.accepted = [one for one in self.accepted if now - one[0] < STORES_LAG] + [(now, self._logins())]
        for pod in self.pods:
            for variable in ("REDIS_URL", "RABBITMQ_URL"):
                url = urlsplit(pod.env.get(variable, ""))
                used = (url.username or "", url.password)
                assert not url.netloc or all(used in one for _, one in self.accepted), f"{url.hostname} refuses {pod}"

    def _check_certificates(self) -> None:
        """A store that runs shows the certificate that its Secret has, or had some minutes ago."""
        now, stores = self.cluster.now, [*(f"{service}-db" for service in WITH_DATABASE), "redis", "rabbitmq"]
        shown = {store: self.secret(f"{store}-tls")["tls.crt"] for store in stores}
        self.served = [one for one in self.served if now - one[0] < STORES_LAG] + [(now, shown)]
        for pod in self.pods:
            for variable, store in (("DB", f"{pod.service}-db"), ("REDIS", "redis"), ("RABBITMQ", "rabbitmq")):
                if authorities := pod.env.get(f"{variable}_CA"):
                    self._check_authority(str(pod), store, authorities)
        for store in stores:  # a loop in the container connects to the store that it runs in
            self._check_authority(f"the loop of {store}", store, self.secret(f"{store}-tls")["ca.crt"])

    def _check_authority(self, client: str, store: str, authorities: str) -> None:
        for _, shown in self.served:
            assert is_signed_by(shown[store], authorities), f"{client} refuses the certificate of {store}"

    def _logins(self) -> frozenset[tuple[str, str]]:
        redis = {("", value) for name, value in self.secret("redis").items() if name.startswith("REDIS_PASSWORD")}
        users = {
            (f"{prefix}{service}", self.secret(f"{service}-broker").get(name, ""))
            for service in WITH_BROKER
            for prefix, name in (("", "RABBITMQ_PASSWORD"), ("2.", "RABBITMQ_SECOND_PASSWORD"))
        }
        return frozenset(one for one in redis | users if one[1])

    def objects(self) -> dict[tuple[str, str], Any]:
        """Returns what the objects of the shop say, without what the API server adds."""
        return {
            identity: (one.get("spec"), one.get("data"), one["metadata"]["annotations"])
            for identity, one in self.cluster.server.objects.items()
            if identity[0] in ("Secret", "Deployment", "Job")
        }
