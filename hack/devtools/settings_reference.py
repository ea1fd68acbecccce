"""Generates docs/settings.md from every service's `Settings`: `python -m devtools.settings_reference --write`.

Each row has a setting's variable, type, default, meaning, and the chart value and custom resource field that set it.
"""

import argparse
import ast
import importlib
import inspect
import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from chassis import settings as shared
from pydantic.fields import FieldInfo

from devtools.metrics_reference import ROOT
from devtools.services import SERVICES

DOCUMENT = ROOT / "docs/settings.md"
_INTRODUCTION = """# Settings

What the services read from their environment. `make settings` generates this page from their `Settings` classes. A
secret may come in a file instead: `JWT_SECRET_FILE` names the file whose content is `JWT_SECRET`. A missing or
malformed setting stops the start with exit code 78 and one line that names it.

The last column has the value of charts/platform and, after it, the field of an `EcommercePlatform` that set the
variable. `env` is `<service>.env` of the chart and `spec.services.<service>.env` of the resource.

"""
_BY_CHART = "the chart"
_SET_BY: Mapping[str, tuple[str, ...]] = {
    "LOG_LEVEL": ("global.logLevel", ""),
    "DB_HOST": ("<service>.database", "spec.databases"),
    "DB_PORT": ("<service>.database", "spec.databases"),
    "DB_USER": ("<service>.database", "spec.databases"),
    "DB_CA": ("<service>.database", "spec.databases"),
    "DB_PASSWORD": ("<service>.database", "spec.databases"),
    "DB_NAME": ("<service>.database", "spec.databases"),
    "DB_RUNTIME_USER": ("<service>.database.runtimeSecret", "spec.databases"),
    "DB_RUNTIME_PASSWORD": ("<service>.database.runtimeSecret", "spec.databases"),
    "DB_MIGRATED_AT": ("the ConfigMap <name>-databases", ""),
    "DB_PREVIOUS_PASSWORD": ("<service>.migration.ownerRotation", "the Secret <name>-<service>-db"),
    "DB_RUNTIME_RETIRED_USER": ("<service>.migration.rotation", "the Secret <name>-<service>-db-runtime"),
    "RABBITMQ_CA": ("<service>.broker", "spec.broker"),
    "RABBITMQ_URL": ("<service>.broker", "spec.broker"),
    "REDIS_CA": ("<service>.cache", "spec.cache"),
    "REDIS_URL": ("<service>.cache", "spec.cache"),
    "SERVICE_VERSION": ("global.image.tag", "spec.version"),
    "JWT_SECRET": ("user.jwt", "the Secret <name>-jwt"),
    "JWT_SECRET_NEXT": ("user.jwt", "the Secret <name>-jwt"),
    "JWT_SECRET_PREVIOUS": ("user.jwt", "the Secret <name>-jwt"),
    "ADMIN_EMAIL": ("user.admin", "the Secret <name>-admin"),
    "ADMIN_PASSWORD": ("user.admin", "the Secret <name>-admin"),
    "ADMIN_PASSWORD_PREVIOUS": ("user.admin", "the Secret <name>-admin"),
    "PAYMENT_PROVIDER": ("payment.provider", "global.settings.paymentProvider", "spec.payments.provider"),
    "CURRENCIES": ("global.settings.currencies", "spec.settings.currencies"),
    "GRPC_TOKENS": ("<service>.grpc", "the Secret <name>-<service>-grpc"),
    "GRPC_CALLERS": ("<service>.grpc", "the Secret <name>-<service>-grpc"),
    "GRPC_AUTHENTICATION": ("global.settings.grpcAuthentication", "spec.settings.grpcAuthentication"),
    "STRIPE_SECRET_KEY": ("payment.stripe", "spec.payments.secretRef"),
    "STRIPE_WEBHOOK_SECRET": ("payment.stripe", "spec.payments.secretRef"),
    "SHOP_NAME": ("notification.shop.name", ""),
    "SHOP_URL": ("notification.shop.url", "spec.ingress"),
    "SMTP_HOST": ("notification.smtp.host", "spec.notifications.smtp.host"),
    "SMTP_PORT": ("notification.smtp.port", "spec.notifications.smtp.port"),
    "SMTP_FROM": ("notification.smtp.from", "spec.notifications.smtp.from"),
    "SMTP_STARTTLS": ("notification.smtp.startTls", "spec.notifications.smtp.startTls"),
    "SMTP_USER": ("notification.smtp", "spec.notifications.smtp.secretRef"),
    "SMTP_PASSWORD": ("notification.smtp", "spec.notifications.smtp.secretRef"),
    "SMS_PROVIDER": ("notification.sms.provider", "spec.notifications.sms.provider"),
    "TWILIO_ACCOUNT_SID": ("notification.sms", "spec.notifications.sms.secretRef"),
    "TWILIO_AUTH_TOKEN": ("notification.sms", "spec.notifications.sms.secretRef"),
    "TWILIO_FROM": ("notification.sms", "spec.notifications.sms.secretRef"),
}
"""Chart value and custom resource field by variable, where they are not called like the variable."""
_WIRED = ("TENANT", "HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "TWILIO_STATUS_CALLBACK")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the reference."""

    variable: str
    type: str
    default: str
    meaning: str
    set_by: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devtools.settings_reference", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/settings.md instead of printing it")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if docs/settings.md is not current")
    chosen = parser.parse_args(arguments)
    text = document()
    if chosen.check:
        if DOCUMENT.exists() and DOCUMENT.read_text() == text:
            return 0
        print("docs/settings.md is not current: run make settings", file=sys.stderr)
        return 1
    if chosen.write:
        DOCUMENT.write_text(text)
    else:
        print(text, end="")
    return 0


def document() -> str:
    """Renders the page: shared settings first, then each service's own."""
    sections = [("Every service", rows(shared.ServiceSettings, ""))]
    database = [row for row in rows(shared.BackendSettings, "") if row not in sections[0][1]]
    sections.append(("Every service with a database", database))
    migration = [row for row in rows(shared.MigrationSettings, "") if row not in sections[0][1] + database]
    sections.append(("Every migration", migration))
    known = {row.variable for _, section in sections for row in section}
    sections += [
        (service, [row for row in rows(settings_of(service), service) if row.variable not in known])
        for service in sorted(SERVICES)
    ]
    return _INTRODUCTION + "\n".join(_section(title, section) for title, section in sections)


def settings_of(service: str) -> type[shared.ServiceSettings]:
    """Returns the class of a service's settings."""
    module = importlib.import_module(f"{service}_service.settings")
    found: type[shared.ServiceSettings] = module.Settings
    return found


def rows(settings: type[shared.Environment], service: str) -> list[Setting]:
    """Returns the settings of a class, inherited ones included. Raises LookupError for one without a docstring."""
    meanings, schema = _meanings(settings), settings.model_json_schema()["properties"]
    return [
        Setting(name.upper(), _type(schema[name]), _default(field), meanings[name], set_by(name.upper(), service))
        for name, field in settings.model_fields.items()
    ]


def set_by(variable: str, service: str) -> tuple[str, ...]:
    """Returns the chart value and the custom resource field that set a variable; none for one that only `env` sets."""
    if variable in _SET_BY:
        return tuple(filter(None, _SET_BY[variable]))
    if variable in _WIRED or variable.endswith(("_GRPC", "_URL")):
        return (_BY_CHART,)
    if camel_case(variable) in exposed(service):
        return f"{service}.settings.{camel_case(variable)}", f"spec.settings.{service}.{camel_case(variable)}"
    return ()


def exposed(service: str) -> frozenset[str]:
    """Returns the names below `settings` in a service's chart."""
    path = ROOT / f"charts/{service}/values.schema.json"
    schema = json.loads(path.read_text())["properties"] if service else {}
    return frozenset(schema.get("settings", {}).get("properties", {}))


def camel_case(variable: str) -> str:
    """Returns the chart's name of a variable: orderTtlSeconds for ORDER_TTL_SECONDS."""
    first, *others = variable.lower().split("_")
    return first + "".join(word.capitalize() for word in others)


def _meanings(settings: type[shared.Environment]) -> dict[str, str]:
    """Returns the docstring of each field, of base classes too. Raises LookupError for a field without one."""
    found: dict[str, str] = {}
    for owner in reversed(settings.__mro__):
        if issubclass(owner, shared.Environment):
            found |= dict(_docstrings(owner))
    missing = [name for name in settings.model_fields if name not in found]
    if missing:
        raise LookupError(f"{settings.__module__}: {', '.join(missing)} have no docstring: say what each is for")
    return found


def _docstrings(owner: type) -> Iterator[tuple[str, str]]:
    (body,) = (node.body for node in ast.parse(inspect.getsource(owner)).body if isinstance(node, ast.ClassDef))
    for field, docstring in itertools.pairwise(body):
        match field, docstring:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                yield name, " ".join(text.split())


def _type(definition: Mapping[str, Any]) -> str:
    """Returns the type with its bounds, as pydantic's JSON schema has them."""
    options = [option for option in definition.get("anyOf", [definition]) if option.get("type") != "null"]
    shown = {_plain_type(option) for option in options}
    return " or ".join(sorted(shown))


def _plain_type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("contentMediaType") == "application/json":
        return "JSON"
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return ", ".join([str(schema.get("type", "string")), *bounds])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    value = value.key if isinstance(value, ZoneInfo) else value
    return "" if value is None or value == "" else f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _section(title: str, settings: Sequence[Setting]) -> str:
    head = f"## {title}\n\n| variable | type | default | meaning | set by |\n|---|---|---|---|---|\n"
    return head + "".join(map(_row, settings))


def _row(setting: Setting) -> str:
    set_by = ", ".join(part if " " in part else f"`{part}`" for part in setting.set_by) or "`env`"
    return f"| `{setting.variable}` | {setting.type} | {setting.default} | {setting.meaning} | {set_by} |\n"


if __name__ == "__main__":
    sys.exit(main())
