"""Runs kubectl, which knows the cluster and its user: docs/adr/0058-the-plugin-asks-through-kubectl.md."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kubectl_ecommerce.errors import NoKubectlError, from_kubectl

Manifest: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON."""

GROUP = "platform.ecommerce.dev"
BACKUPS = f"platformbackups.{GROUP}"
RESTORES = f"platformrestores.{GROUP}"
JOBS = "jobs.batch"
SHOPS = f"ecommerceplatforms.{GROUP}"
"""The resource of the shops, whose short name another resource may have too."""
CLUSTERS = {"Cluster": "clusters.postgresql.cnpg.io", "RabbitmqCluster": "rabbitmqclusters.rabbitmq.com"}
"""The resources of the stores that an add-on runs, which may not be installed, by kind. Other products have clusters
too."""
TENANTS = f"tenants.{GROUP}"
"""The resource of the tenants. Other products have tenants too."""


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl with the flags that say which cluster is meant. Every method raises KubectlError."""

    flags: tuple[str, ...] = ()
    program: str = "kubectl"

    def run(self, *arguments: str, text: str | None = None) -> str:
        """Returns what kubectl prints. `text` is its standard input."""
        command = [self.program, *self.flags, *arguments]
        try:
            done = subprocess.run(  # noqa: S603
                command, input=text, capture_output=True, text=True, errors="replace", check=False
            )
        except OSError as error:
            raise NoKubectlError(
                f"{self.program} cannot be run ({error.strerror}): install it and add it to PATH"
            ) from None
        if done.returncode:
            raise from_kubectl(done.stderr)
        return done.stdout

    def read(self, *arguments: str) -> Manifest:
        """Returns the object, or the list of objects, that `kubectl get` prints."""
        content: Manifest = json.loads(self.run("get", *arguments, "--output", "json"))
        return content

    def create(self, manifest: Manifest, *, dry_run: bool) -> None:
        """Creates an object, which a dry run only has checked."""
        dry = ("--dry-run=server",) if dry_run else ()
        self.run("create", "--filename", "-", "--validate=false", *dry, text=json.dumps(manifest))

    def patch_shop(self, namespace: str, name: str, patch: Mapping[str, Any], *, dry_run: bool) -> None:
        """Sends a JSON merge patch (RFC 7386), which a dry run only has checked."""
        dry = ("--dry-run=server",) if dry_run else ()
        self.run("patch", SHOPS, name, "--namespace", namespace, "--type", "merge", "--patch", json.dumps(patch), *dry)
