"""The benchmark of the operator says that the operator has ended, rather than to wait for what never comes."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from shop_e2e.bench_operator.control_plane import ControlPlane
from shop_e2e.bench_operator.operator_process import OperatorProcess
from shop_e2e.bench_operator.traced_operator import _Collections, resource


async def test_work_fails_when_the_operator_has_ended(tmp_path: Path) -> None:
    no_client: Any = None
    plane = ControlPlane("https://127.0.0.1:1", tmp_path / "kubeconfig", no_client)
    operator = OperatorProcess(plane, tmp_path, charts=tmp_path, version="", resync=1)
    with operator.running(), pytest.raises(RuntimeError, match="the operator has ended"):
        await operator.during(asyncio.Event().wait())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/namespaces/shop-1/secrets/shop-jwt", "secrets"),
        ("/api/v1/namespaces/shop-1/secrets", "secrets"),
        ("/api/v1/secrets", "secrets"),
        ("/api/v1/namespaces/shop-1", "namespaces"),
        ("/apis/apps/v1/namespaces/shop-1/deployments/shop-order", "deployments"),
        ("/apis/apps/v1/deployments", "deployments"),
        (
            "/apis/platform.ecommerce.dev/v1alpha1/namespaces/shop-1/ecommerceplatforms/shop/status",
            "ecommerceplatforms/status",
        ),
    ],
)
def test_requests_are_counted_by_resource(path: str, expected: str) -> None:
    assert resource(path) == expected


def test_a_collection_in_the_thread_of_the_lease_is_not_counted() -> None:
    collections = _Collections()

    def collect() -> None:
        collections.observe("start", {})
        began = time.thread_time()
        while time.thread_time() == began:
            pass
        collections.observe("stop", {})

    lease = threading.Thread(target=collect)
    lease.start()
    lease.join()
    assert collections.seconds == 0
    collect()
    assert collections.seconds > 0
