"""The broker's definitions follow the topology."""

import json

from chassis.messaging.topology import load_topology
from devtools.broker_definitions import FILE, definitions
from devtools.services import SERVICES


def test_the_committed_definitions_are_current() -> None:
    assert FILE.read_text() == definitions(), "run `python -m devtools.broker_definitions --write`"


def test_each_service_of_the_topology_has_two_users_that_may_declare_nothing() -> None:
    topology = load_topology()
    content = json.loads(definitions())
    permissions = {row["user"]: row for row in content["permissions"][1:]}
    participants = {name for event in topology.events.values() for name in (event.producer, *event.consumers)}

    users = participants | {f"2.{name}" for name in participants}
    assert set(permissions) == {row["name"] for row in content["users"][1:]} == users
    assert participants == {name for name, service in SERVICES.items() if service.broker}
    assert {row["configure"] for row in permissions.values()} == {"^$"}
    assert {row["user"] for row in content["topic_permissions"]} == users
