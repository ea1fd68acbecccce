"""The tokens by which services recognize each other on gRPC, and how a running shop begins to require them. Pure.

docs/adr/0027-grpc-callers-show-a-token-per-neighbour.md describes both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from platform_operator.api.kinds import ANNOTATION_REPLACES_WITHOUT_TOKENS, ObjectId, PlatformKey
from platform_operator.api.shop_settings import GrpcAuthentication
from platform_operator.api.spec import NEIGHBOURS, SERVICES, Spec
from platform_operator.cache.observed import Children, Workload
from platform_operator.plan.inventory import Inventory
from platform_operator.secrets.remembered_version import deployments, remembered_version


def caller_tokens(
    token: Callable[[str, str, int], str], shown: int = 0, accepted: Sequence[int] = (0,)
) -> Iterable[tuple[str, dict[str, str]]]:
    """Yields the component and the data of each service's Secret, given the token of a caller, a callee and a
    generation. `shown` is the generation of the tokens that callers show, `accepted` are those of the digests."""
    for service, neighbours in NEIGHBOURS.items():
        tokens = [f"{neighbour}={token(service, neighbour, shown)}" for neighbour in neighbours]
        callers = [caller for caller in SERVICES if service in NEIGHBOURS[caller]]
        digests = [f"{caller}={_digest(token(caller, service, one))}" for caller in callers for one in accepted]
        data = {"GRPC_TOKENS": ",".join(tokens), "GRPC_CALLERS": ",".join(digests)}
        yield f"{service}-grpc", {name: value for name, value in data.items() if value}


def grpc_authentication(spec: Spec, replaced_version: str) -> GrpcAuthentication:
    """Returns the setting of the shop: what the spec says, else optional while a version without tokens is replaced."""
    return spec.settings.grpc_authentication or ("optional" if replaced_version else "required")


def replaced_version(key: PlatformKey, observed: Children, inventory: Inventory) -> str:
    """Returns the version without tokens that still runs, or may run again soon; empty if there is none.

    The Secrets remember it from their first appearance until every service has another version and no older pod. A
    Secret that is lost later is in the inventory, so its loss does not make tokens optional again.
    """
    secrets = [ObjectId("Secret", f"{key.name}-{service}-grpc") for service in SERVICES]
    version = remembered_version(key, secrets, ANNOTATION_REPLACES_WITHOUT_TOKENS, observed, inventory)
    running = any(one.image_version == version or not _is_rolled_out(one.state) for one in deployments(key, observed))
    return version if running else ""


def _is_rolled_out(state: object) -> bool:
    return isinstance(state, Workload) and state.current and state.updated >= state.total


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
