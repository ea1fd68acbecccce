"""The Secrets of users that a spec names: what they have to have, and what follows from their state. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from platform_operator.api.kinds import GROUP
from platform_operator.api.spec import WITH_BROKER, WITH_CACHE, Spec
from platform_operator.digests import digest

ANNOTATION_SECRETS = f"{GROUP}/secrets"
"""Stands in a pod for the content of the Secrets that it reads: environment variables change with the pod alone."""

_DATABASE = ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD", "DB_NAME")


@dataclass(frozen=True, slots=True)
class NamedSecret:
    """A Secret that a field of the spec names, with the keys that it has to have and the services that read them."""

    name: str
    field: str
    keys: tuple[str, ...]
    services: tuple[str, ...]
    optional: tuple[str, ...] = ()
    """Keys that it need not have."""


@dataclass(frozen=True, slots=True)
class SecretState:
    """A named Secret as read. Its revision is the last one known while it is incomplete, so that no pod restarts."""

    secret: NamedSecret
    lacking: tuple[str, ...] = ()
    """The keys that it does not have; all of them if there is no such Secret."""
    revision: str = ""
    exists: bool = True


def named_secrets(spec: Spec) -> tuple[NamedSecret, ...]:
    """Returns the Secrets that the spec names, in the order of its fields."""
    smtp, sms, tls = spec.notifications.smtp, spec.notifications.sms, spec.ingress.tls
    found = [
        NamedSecret(
            database.secret_ref.name, f"databases.external.{service}.secretRef", _DATABASE, (service,), ("DB_CA",)
        )
        for service, database in spec.databases.external.items()
    ]
    for reference, field, keys, services, *optional in (
        (spec.cache.secret_ref, "cache.secretRef", ("REDIS_URL",), WITH_CACHE, "REDIS_CA"),
        (spec.broker.secret_ref, "broker.secretRef", ("RABBITMQ_URL",), WITH_BROKER, "RABBITMQ_CA"),
        (spec.payments.secret_ref, "payments.secretRef", ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"), ("payment",)),
        (smtp and smtp.secret_ref, "notifications.smtp.secretRef", ("SMTP_USER", "SMTP_PASSWORD"), ("notification",)),
        (sms.secret_ref, "notifications.sms.secretRef", _TWILIO, ("notification",)),
    ):
        if reference:
            found.append(NamedSecret(reference.name, field, keys, services, tuple(optional)))
    if spec.ingress.enabled and tls:
        found.append(NamedSecret(tls.secret_name, "ingress.tls.secretName", ("tls.crt", "tls.key"), ()))
    return tuple(found)


_TWILIO = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM")


def pod_annotations(states: Iterable[SecretState]) -> dict[str, dict[str, str]]:
    """Returns the annotation of the pods of each service that reads a named Secret."""
    revisions: dict[str, list[str]] = {}
    for state in states:
        for service in state.secret.services:
            revisions.setdefault(service, []).append(state.revision)
    return {service: {ANNOTATION_SECRETS: digest(found)} for service, found in revisions.items() if any(found)}


def secret_rows(states: Iterable[SecretState]) -> list[dict[str, Any]]:
    """Returns the rows of `status.secrets`."""
    return [
        {"field": one.secret.field, "name": one.secret.name, "ready": not one.lacking}
        | ({"revision": one.revision} if one.revision else {})
        for one in states
    ]


def problems(states: Iterable[SecretState], namespace: str) -> list[str]:
    """Returns a sentence for each Secret that is not as the services need it."""
    return [_problem(one, namespace) for one in states if one.lacking]


def _problem(state: SecretState, namespace: str) -> str:
    secret = state.secret
    named = f"Secret {secret.name}, which spec.{secret.field} names,"
    if not state.exists:
        return f"{named} does not exist: create it in namespace {namespace} with {', '.join(secret.keys)}."
    return f"{named} does not have {', '.join(state.lacking)}: add what is missing."
