"""Generates the broker's definitions from shopapi/topology.toml: all queues, and a user for each service.

`python -m devtools.broker_definitions` prints them; `--write` updates charts/rabbitmq/files/definitions.json, which the
chart, compose and the tests load. A password is a placeholder, `@ORDER_PASSWORD@`, which each of them replaces.

Each service has two users with the same permissions, `order` and `2.order`. One is used at a time: they alternate when
the operator rotates the service's password (docs/adr/0051). The other one has no password and cannot log in.

A service's user may publish with the keys of its own event types only, read its own queue and dead letters only, and
declare nothing: with the permission to bind a queue it could receive the events of other services.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TypeAlias

from chassis.messaging.senders import SECOND
from chassis.messaging.topology import Topology, load_topology, retry_arguments, retry_exchange, retry_queue

from devtools.services import SERVICES

Json: TypeAlias = dict[str, object]

FILE = Path(__file__).parents[2] / "charts/rabbitmq/files/definitions.json"
_VHOST = "/"
_NOTHING = "^$"


def main() -> int:
    """Prints or writes the definitions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="update charts/rabbitmq/files/definitions.json")
    if parser.parse_args().write:
        FILE.write_text(definitions())
    else:
        sys.stdout.write(definitions())
    return 0


def definitions() -> str:
    """Returns the definitions as RabbitMQ's `load_definitions` reads them."""
    topology = load_topology()
    services = [name for name, service in SERVICES.items() if service.broker]
    consumers = [name for name in services if topology.consumed_by(name)]
    sections: dict[str, list[Json]] = {
        "vhosts": [{"name": _VHOST}],
        "users": [
            _user("@RABBITMQ_USER@", "RABBITMQ", "administrator", "impersonator"),
            *(_user(name, name.upper()) for name in services),
            *(_user(f"{SECOND}{name}", f"SECOND_{name.upper()}") for name in services),
        ],
        "permissions": [
            _permission("@RABBITMQ_USER@", ".*", ".*", ".*"),
            *(_service_permission(prefix, name, topology) for prefix in ("", SECOND) for name in services),
        ],
        "topic_permissions": [
            _topic_permission(prefix, name, topology) for prefix in ("", SECOND) for name in services
        ],
        "exchanges": [
            _exchange(topology.exchange, "topic"),
            _exchange(topology.dead_letter_exchange, "direct"),
            *(_exchange(retry_exchange(name), "direct") for name in consumers),
        ],
        "queues": [queue for name in consumers for queue in _queues(name, topology)],
        "bindings": [binding for name in consumers for binding in _bindings(name, topology)],
    }
    parts = [
        f'  "{section}": [\n' + ",\n".join(f"    {json.dumps(row)}" for row in rows) + "\n  ]"
        for section, rows in sections.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _user(name: str, placeholder: str, *tags: str) -> Json:
    return {"name": name, "password": f"@{placeholder}_PASSWORD@", "tags": list(tags)}


def _permission(user: str, configure: str, write: str, read: str) -> Json:
    return {"user": user, "vhost": _VHOST, "configure": configure, "write": write, "read": read}


def _service_permission(prefix: str, service: str, topology: Topology) -> Json:
    consumes, produces = topology.consumed_by(service), topology.produced_by(service)
    written = [topology.exchange] * bool(produces) + [retry_exchange(service)] * bool(consumes)
    read = [service, f"{service}.dead"] if consumes else []
    return _permission(prefix + service, _NOTHING, _any_of(written), _any_of(read))


def _topic_permission(prefix: str, service: str, topology: Topology) -> Json:
    """Returns the keys with which a user may publish. Without such a row, RabbitMQ would allow every key."""
    keys = _any_of(topology.produced_by(service))
    return {"user": prefix + service, "vhost": _VHOST, "exchange": topology.exchange, "write": keys, "read": _NOTHING}


def _any_of(names: list[str]) -> str:
    return f"^({'|'.join(map(re.escape, names))})$" if names else _NOTHING


def _exchange(name: str, kind: str) -> Json:
    return {
        "name": name,
        "vhost": _VHOST,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queues(service: str, topology: Topology) -> list[Json]:
    arguments: dict[str, dict[str, str | int]] = {
        service: topology.queue_arguments(service),
        f"{service}.dead": {"x-queue-type": "quorum"},
        **{retry_queue(service, delay): retry_arguments(service, delay) for delay in topology.retry_delays_seconds},
    }
    return [
        {"name": name, "vhost": _VHOST, "durable": True, "auto_delete": False, "arguments": arguments[name]}
        for name in arguments
    ]


def _bindings(service: str, topology: Topology) -> list[Json]:
    waiting = [retry_queue(service, delay) for delay in topology.retry_delays_seconds]
    return [
        *(_binding(topology.exchange, service, key) for key in topology.consumed_by(service)),
        _binding(topology.dead_letter_exchange, f"{service}.dead", service),
        _binding(retry_exchange(service), service, service),
        *(_binding(retry_exchange(service), queue, queue) for queue in waiting),
    ]


def _binding(source: str, queue: str, key: str) -> Json:
    return {
        "source": source,
        "vhost": _VHOST,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": key,
        "arguments": {},
    }


if __name__ == "__main__":
    sys.exit(main())
