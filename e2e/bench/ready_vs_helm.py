#!/usr/bin/env python3
"""Measures how long a shop takes to be ready: `kubectl apply` of an EcommercePlatform against `helm install --wait` of
the same charts.

Both run in turn on the cluster of `make up`, each in a namespace of its own that is removed before the next run. Prints
every time and the ratio of the medians; the goal is at most 1.3 times the plain installation.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from shop_e2e.cluster import shops
from shop_e2e.cluster.kubectl import Namespace, create_namespace, delete_namespace

TARGET = 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each method [%(default)s]")
    rounds = parser.parse_args().rounds
    methods = {"helm install": by_helm, "EcommercePlatform": by_operator}
    times: dict[str, list[float]] = {method: [] for method in methods}
    for number in range(1, rounds + 1):
        for method, install in methods.items():
            times[method].append(timed(install))
            print(f"round {number} of {rounds}: {method:18} {times[method][-1]:6.1f} s", flush=True)
    helm, operator = (statistics.median(times[method]) for method in methods)
    print(
        f"\nmedian: helm install {helm:.1f} s, EcommercePlatform {operator:.1f} s,"
        f" ratio {operator / helm:.2f} (target {TARGET})"
    )


def timed(install: Callable[[Namespace], None]) -> float:
    """Returns the seconds until the shop is ready."""
    namespace = create_namespace("bench-ready")
    try:
        began = time.monotonic()
        install(namespace)
        return time.monotonic() - began
    finally:
        delete_namespace(namespace.name)


def by_operator(namespace: Namespace) -> None:
    namespace.apply(shops.platform("bench", deletionPolicy="Delete"))
    namespace.wait_ready("bench", 600)


def by_helm(namespace: Namespace) -> None:
    shops.helm_install(namespace, "bench")


if __name__ == "__main__":
    main()
