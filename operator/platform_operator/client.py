"""The Kubernetes client: the few verbs that the operator needs, on plain dictionaries, each with a deadline."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTResponse

from platform_operator.api.kinds import FIELD_MANAGER, Kind, Manifest
from platform_operator.errors import NAMESPACE_TERMINATING, ApiError

WRITE_TIMEOUT = 4.0
"""Seconds. `leader_election` relies on it: a write that begins while the Lease is valid ends before the Lease does."""
READ_TIMEOUT = 30.0
"""Seconds."""
WATCH_SECONDS = 25
"""Seconds of one watch. The next one goes on at the last version, so a connection that broke silently loses no event
and delays none for longer than this."""
PAGE_SIZE = 100
"""Objects of a list that are read in one request, if the caller does not say how many."""

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
_METADATA = ";g=meta.k8s.io;v=v1"
"""Ends a media type that asks for the metadata of objects alone."""
_METADATA_LIST = f"{_JSON};as=PartialObjectMetadataList{_METADATA}"
_METADATA_WATCH = f"{_JSON};as=PartialObjectMetadata{_METADATA}"


async def connect(require_leadership: Callable[[], None] = lambda: None) -> ApiClient:
    """Connects to the cluster that the process runs in, or else to the one that KUBECONFIG names.

    `require_leadership` is called when a write is about to be sent, also one that is sent again or that had to wait for
    a connection. If it raises LeadershipLostError, the write is not sent.
    """
    configuration = Configuration(
        connection_pool_maxsize=0,  # unlimited: each watch holds a connection
        trace_configs=[_fence(require_leadership)],
        client_session_kwargs={"trust_env": False},  # aiohttp would look for both before each request, in threads
    )
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        path = os.environ.get("KUBECONFIG", config.KUBE_CONFIG_DEFAULT_LOCATION)
        await config.load_kube_config(path, client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.proxy = configuration.proxy or _environment_proxy(configuration.host)
    client = ApiClient(configuration)
    client.user_agent = FIELD_MANAGER  # tells writers apart in the audit log
    return client


def _fence(require_leadership: Callable[[], None]) -> aiohttp.TraceConfig:
    async def check(_: aiohttp.ClientSession, __: SimpleNamespace, sent: aiohttp.TraceRequestHeadersSentParams) -> None:
        if sent.method != "GET":
            require_leadership()

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(check)  # called before they are sent, despite its name
    return trace


def _environment_proxy(url: str) -> str | None:
    """Returns the proxy by which the environment says that a URL is reached; None for none."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


class KubernetesClient:
    """Reads and writes Kubernetes objects. Every method raises ApiError.

    A write raises what the `require_leadership` raises that `connect` was given, and is not sent then. A process that
    leads keeps the WRITE_TIMEOUT: a longer write could outlive its Lease.
    """

    def __init__(
        self, client: ApiClient, *, write_timeout: float = WRITE_TIMEOUT, read_timeout: float = READ_TIMEOUT
    ) -> None:
        self._client = client
        self.write_timeout, self.read_timeout = write_timeout, read_timeout

    async def list(
        self, kind: Kind, namespace: str | None, selector: str = "", limit: int = 0, fields: str = ""
    ) -> tuple[list[Manifest], int]:
        """Returns the objects, at most `limit` if it is not 0, and the resource version of the list.

        `selector` selects by label, `fields` by field.
        """
        query = {"labelSelector": selector} if selector else {}
        query |= {"fieldSelector": fields} if fields else {}
        query |= {"limit": str(limit)} if limit else {}
        answer = await self._call("GET", kind.path(namespace), query)
        return [_with_kind(kind, one) for one in answer["items"]], int(answer["metadata"]["resourceVersion"])

    async def pages(
        self, kind: Kind, namespace: str | None, selector: str = "", size: int = PAGE_SIZE
    ) -> AsyncIterator[tuple[Sequence[Manifest], int]]:
        """Yields all objects in pages of `size`, each with the version of the list. Only one page is in memory at a
        time, and no other task runs while it is parsed.

        Of a kind with `metadata_only` they have their metadata alone, as they have in `watch`.
        """
        query = {"limit": str(size)} | ({"labelSelector": selector} if selector else {})
        accept = _METADATA_LIST if kind.metadata_only else _JSON
        token = ""
        while True:
            here = query | ({"continue": token} if token else {})
            page = await self._call("GET", kind.path(namespace), here, accept=accept)
            items = page["items"] or ()  # null in an empty list of metadata
            yield [_with_kind(kind, one) for one in items], int(page["metadata"]["resourceVersion"])
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def watch(
        self, kind: Kind, namespace: str | None, selector: str, version: int
    ) -> AsyncIterator[tuple[str, Manifest]]:
        """Yields the type and the object of each event after a version, for WATCH_SECONDS.

        A version that the API server does not have any more is an ApiError with status 410.
        """
        query = {
            "watch": "true",
            "labelSelector": selector,
            "resourceVersion": str(version),
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        path, accept = kind.path(namespace), _METADATA_WATCH if kind.metadata_only else _JSON
        deadline = aiohttp.ClientTimeout(total=WATCH_SECONDS + self.write_timeout)
        try:
            response = await self._send("GET", path, query, None, _JSON, deadline, accept)
            async with response.response:
                if response.status >= 400:
                    raise self._error(response, await response.read())  # type: ignore[no-untyped-call]
                async for line in _lines(response.response.content):
                    event = _parse(line)
                    if event.get("type") == "ERROR":
                        status = event["object"]
                        raise ApiError(status.get("code", 500), status.get("reason", ""), status.get("message", ""))
                    if event:
                        yield event["type"], _with_kind(kind, event["object"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"the watch of {path} broke: {error!r}") from error

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._call("GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def names(self, kind: Kind, namespace: str) -> frozenset[str] | None:
        """Returns the names of all objects of a kind in a namespace; None if there are more than PAGE_SIZE."""
        query = {"limit": str(PAGE_SIZE)}
        page = await self._call("GET", kind.path(namespace), query, accept=_METADATA_LIST)
        if page["metadata"].get("continue"):
            return None
        return frozenset(one["metadata"]["name"] for one in page["items"] or ())

    async def apply(
        self, kind: Kind, namespace: str, manifest: Manifest, subresource: str = "", manager: str = FIELD_MANAGER
    ) -> Manifest:
        """Applies on the server's side.

        Forced, since the operator is the authority on the fields it states, and on no other.
        """
        path = kind.path(namespace, manifest["metadata"]["name"]) + (f"/{subresource}" if subresource else "")
        return await self._call("PATCH", path, {"fieldManager": manager, "force": "true"}, manifest, _APPLY)

    async def overwrite(
        self, kind: Kind, namespace: str, name: str, fields: Manifest, subresource: str = ""
    ) -> Manifest:
        """Sends a JSON merge patch (RFC 7386): it replaces lists whole, where applying merges them item by item."""
        path = kind.path(namespace, name) + (f"/{subresource}" if subresource else "")
        return await self._call("PATCH", path, {"fieldManager": FIELD_MANAGER}, fields, _MERGE)

    async def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        return await self._call("POST", kind.path(namespace), {"fieldManager": FIELD_MANAGER}, manifest)

    async def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """Replaces an object under optimistic locking: fails with 409 if it was written after `manifest` was read."""
        path = kind.path(namespace, manifest["metadata"]["name"])
        return await self._call("PUT", path, {"fieldManager": FIELD_MANAGER}, manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        """Deletes the object of that uid, not a later one of the same name.

        Returns False if the API server answers that it is gone, or that another one has its name (404, 409).
        """
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", kind.path(namespace, name), {}, body)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return False
        return True

    async def _call(
        self,
        verb: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Manifest:
        deadline = aiohttp.ClientTimeout(total=self.read_timeout if verb == "GET" else self.write_timeout)
        try:
            response = await self._send(verb, path, query or {}, body, content_type, deadline, accept)
            text = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"the API server did not answer {verb} {path}: {error!r}") from error
        if response.status >= 400:
            raise self._error(response, text)
        answer = _parse(text)
        if not answer:
            raise ApiError(
                0, "Unreachable", f"the answer to {verb} {path} is no object: a proxy's, not the API server's"
            )
        return answer

    async def _send(
        self,
        verb: str,
        path: str,
        query: dict[str, str],
        body: Manifest | None,
        content_type: str,
        deadline: aiohttp.ClientTimeout,
        accept: str,
    ) -> RESTResponse:
        request = await self._client.param_serialize(
            verb,
            path,
            query_params=list(query.items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        method, url, headers = request[:3]
        return await self._client.call_api(method, url, headers, body, _request_timeout=deadline)

    @staticmethod
    def _error(response: RESTResponse, text: bytes) -> ApiError:
        answer = _parse(text)
        message = answer.get("message") or text[:200].decode(errors="replace")
        retry_after = _seconds(response.getheader("Retry-After"))  # type: ignore[no-untyped-call]
        return ApiError(response.status, _reason(answer), message, retry_after)


def _with_kind(kind: Kind, manifest: Manifest) -> Manifest:
    """Returns an object with its own kind, which lists leave out, and in whose place metadata alone has another."""
    return manifest | {"kind": kind.kind, "apiVersion": kind.api_version}


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yields lines of any length; `StreamReader.readline` refuses long ones."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def _reason(answer: dict[str, Any]) -> str:
    causes = (answer.get("details") or {}).get("causes") or ()
    is_terminating = any(one.get("reason") == NAMESPACE_TERMINATING for one in causes)
    return NAMESPACE_TERMINATING if is_terminating else str(answer.get("reason", ""))


def _parse(text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}  # a proxy's error page rather than the API server's answer: the status code is enough
    return answer if isinstance(answer, dict) else {}


def _seconds(header: str | None) -> float:
    """Returns the seconds of a Retry-After header. The API server never sends the other form, a date."""
    return float(header) if header and header.isascii() and header.isdigit() else 0.0
