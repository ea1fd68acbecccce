"""The shops of the tests: one that is well, one that is broken, and one that is new."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]

SERVICES = ("gateway", "user", "product", "inventory", "order", "payment", "notification", "review")
OLD, NEW = "1.4.2", "1.5.0"


def shop(name: str = "shop", namespace: str = "shop", *, spec: Manifest | None = None, **status: Any) -> Manifest:
    """Returns a shop that is well, with another spec and status."""
    metadata = {"name": name, "namespace": namespace, "generation": 2, "uid": "u1"}
    return {
        "apiVersion": "platform.ecommerce.dev/v1beta1",
        "kind": "EcommercePlatform",
        "metadata": metadata,
        "spec": {"mode": "Manage"} | (spec or {}),
        "status": {
            "observedGeneration": 2,
            "mode": "Manage",
            "version": OLD,
            "targetVersion": OLD,
            "url": f"http://{name}-gateway.{namespace}.svc:8080",
            "servicesReady": "8/8",
            "conditions": [
                condition("Ready", "True", "AllReady", "All parts of the shop are as specified and ready."),
                condition("Progressing", "False", "Stable", "All changes are rolled out."),
                condition("Degraded", "False", "Healthy", "No part has failed."),
                condition("MailConfigured", "True", "MailServerSet", "Mails go to a mail server."),
            ],
            "services": [service(one) for one in SERVICES],
            "databases": [
                {"name": f"{one}-db", "provider": "builtin", "ready": True} for one in SERVICES if one != "gateway"
            ],
            "blocked": [],
            "invariants": [{"service": "inventory", "name": "stock_is_not_oversold", "state": "Holds"}],
        }
        | status,
    }


def broken_shop() -> Manifest:
    """Returns a shop in whose upgrade a migration fails, while the broker holds dead letters."""
    failure = (
        "Job shop-order-migrate-25f084f1 failed: BackoffLimitExceeded. Read kubectl -n shop logs "
        "job/shop-order-migrate-25f084f1; to retry at once: kubectl -n shop delete job shop-order-migrate-25f084f1"
    )
    services = [service(one) for one in SERVICES]
    services[4] = service("order", ready=0)
    return shop(
        spec={"version": NEW},
        targetVersion=NEW,
        servicesReady="7/8",
        upgrade={
            "version": NEW, "charts": "c2", "phase": "RollingOut", "step": "migrations",
            "since": "2026-01-31T11:48:00Z",
        },
        conditions=[
            condition("Ready", "False", "MigrationFailed", failure),
            condition("Progressing", "False", "MigrationFailed", "Stopped until the failure is resolved."),
            condition("Degraded", "True", "MigrationFailed", failure),
            condition("NothingOversold", "True", "AllHold", "No stock is oversold."),
            condition("EventsDelivered", "False", "DeadLetters", "Events do not reach their consumers."),
            condition("MailConfigured", "False", "NoMailServer", "No mail is sent. Set spec.notifications.smtp."),
            condition("Upgraded", "False", "RollingOut", f"{NEW} is rolled out. Step: migrations."),
        ],
        services=services,
        blocked=[
            blocked("Job", "shop-order-migrate-25f084f1", "NotReady", "BackoffLimitExceeded"),
            blocked("Deployment", "shop-order", "Waiting", "waits for Job shop-order-migrate-25f084f1"),
            blocked("StatefulSet", "shop-redis", "NotReady", "0 of 1 pods are ready (FailedScheduling: no room)"),
        ],
        invariants=[
            {"service": "inventory", "name": "stock_is_not_oversold", "state": "Holds", "violations": 0},
            {
                "service": "rabbitmq", "name": "events_consumed", "state": "Broken", "violations": 3,
                "reason": "DeadLetters", "message": "order.dead holds 3",
            },
            {
                "service": "payment", "name": "all", "state": "Unknown", "reason": "Unreachable",
                "message": "its metrics cannot be read",
            },
        ],
    )  # fmt: skip


def new_shop() -> Manifest:
    """Returns a shop that the operator has not reported yet."""
    manifest = shop("fresh", "staging")
    del manifest["status"]
    return manifest


def condition(type_: str, status: str, reason: str, message: str) -> Manifest:
    times = {"observedGeneration": 2, "lastTransitionTime": "2026-01-31T11:48:00Z"}
    return {"type": type_, "status": status, "reason": reason, "message": message, **times}


def service(name: str, ready: int = 1) -> Manifest:
    return {"name": name, "ready": ready > 0, "replicas": 1, "readyReplicas": ready, "version": OLD}


def blocked(kind: str, name: str, state: str, message: str) -> Manifest:
    return {"kind": kind, "name": name, "state": state, "message": message, "since": "2026-01-31T11:50:00Z"}


def release(revision: int, version: str) -> Manifest:
    """Returns a release of the shop, as the operator keeps it."""
    labels = {"app.kubernetes.io/instance": "shop", "app.kubernetes.io/component": "release"}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"shop-release-{revision}",
            "namespace": "shop",
            "labels": labels,
            "creationTimestamp": f"2026-01-{20 + revision}T12:00:00Z",
        },
        "revision": revision,
        "data": {"version": version, "charts": "c", "values": "v", "images": {}, "migrations": {}},
    }


def tenant(name: str, state: str = "Ready", *conditions: Manifest, **spec: Any) -> Manifest:
    """Returns a tenant in a state, with these conditions."""
    usage = {"pods": 17, "storageRequested": "8Gi", "day": "2026-01-31", "ordersToday": 12, "ordersYesterday": 340}
    return {
        "apiVersion": "platform.ecommerce.dev/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name, "generation": 1, "uid": name},
        "spec": {"planRef": {"name": "basic"}} | spec,
        "status": {
            "plan": "basic",
            "state": state,
            "namespace": name,
            "servicesReady": "8/8",
            "usage": usage | {"ordersTotal": 4100},
            "conditions": [*conditions],
        },
    }
