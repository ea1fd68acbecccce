"""The Secrets that a spec names."""

from typing import Any

import pytest

from platform_operator.api.spec import WITH_DATABASE, parse
from platform_operator.secrets.named_secrets import named_secrets

SECRET = {"secretRef": {"name": "mine"}}


@pytest.mark.parametrize(
    ("spec", "fields", "services"),
    [
        ({}, [], []),
        ({"cache": {"provider": "external", **SECRET}}, ["cache.secretRef"], ["gateway", "product", "user"]),
        ({"broker": {"provider": "external", **SECRET}}, ["broker.secretRef"], [*WITH_DATABASE]),
        ({"payments": {"provider": "stripe", **SECRET}}, ["payments.secretRef"], ["payment"]),
        ({"notifications": {"smtp": {"host": "h", "from": "a@b", **SECRET}}}, ["notifications.smtp.secretRef"],
         ["notification"]),
        ({"notifications": {"sms": {"provider": "twilio", **SECRET}}}, ["notifications.sms.secretRef"],
         ["notification"]),
        ({"ingress": {"enabled": True, "host": "h", "tls": {"secretName": "mine"}}}, ["ingress.tls.secretName"], []),
        ({"databases": {"provider": "external", "external": dict.fromkeys(WITH_DATABASE, SECRET)}},
         [f"databases.external.{name}.secretRef" for name in WITH_DATABASE], [*WITH_DATABASE]),
    ],
)  # fmt: skip
def test_every_field_that_names_a_secret_is_known(spec: dict[str, Any], fields: list[str], services: list[str]) -> None:
    found = named_secrets(parse(spec))
    assert [one.field for one in found] == fields
    assert {service for one in found for service in one.services} == set(services)
    assert all(one.name == "mine" and one.keys for one in found)
