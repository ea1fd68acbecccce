"""Names of Kubernetes objects: the kinds that the operator handles, their addresses, and the labels of children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

GROUP = "platform.ecommerce.dev"
VERSION = "v1alpha1"
"""The version that every kind of the group has been served in since its first release."""
PLATFORM_VERSION = "v1beta1"
"""The version in which platforms are stored, and which the operator reads and writes (docs/adr/0059)."""
FIELD_MANAGER = "ecommerce-operator"
HANDOVER_MANAGER = f"{FIELD_MANAGER}-handover"
"""The field manager that owns a Deployment's replicas between the operator and an autoscaler."""

LABEL_PART_OF = "app.kubernetes.io/part-of"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_INSTANCE = "app.kubernetes.io/instance"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_NAME = "app.kubernetes.io/name"
LABEL_VERSION = "app.kubernetes.io/version"
LABEL_PLATFORM = f"{GROUP}/platform"
"""The platform of an object that has no owner. By default Argo CD takes objects without owners that have LABEL_INSTANCE
for those of the application with that name, and prunes them: docs/operations.md, "With Argo CD or Flux"."""
LABEL_PREFIX = "app.kubernetes.io/"
ANNOTATION_ADOPT = f"{GROUP}/adopt"
"""Gives an object that exists already to the platform that it names. On the object: its user decides."""
ANNOTATION_ADOPT_RELEASE = f"{GROUP}/adopt-release"
"""Gives a platform the objects of the Helm release that it names, which has the platform's own name. On the platform.
"""
ANNOTATION_WAVE = f"{GROUP}/wave"

ANNOTATION_GENERATION = f"{GROUP}/generation"
"""The generation and the step of the credentials in a Secret, or of those that a pod was started for."""
ANNOTATION_KEY_ID = f"{GROUP}/master-key-id"
"""The id of the master key, on every Secret that was derived from it and on the records beside them; those of two keys
while a rotation moves what an object has from one to the other."""
ANNOTATION_AUTHORITIES = f"{GROUP}/authorities"
"""The generations of the authorities whose certificates a Secret has, once they were rotated."""
ANNOTATION_SALT = f"{GROUP}/salt"
"""The salt of the credentials in a Secret, from which it is read if its record is lost. Not set if it is empty."""
ANNOTATION_REPLACES_WITHOUT_TLS = f"{GROUP}/replaces-version-without-tls"
"""The version of the services that ran before the authority was made: they cannot verify a certificate."""
ANNOTATION_REPLACES_WITHOUT_TOKENS = f"{GROUP}/replaces-version-without-tokens"
"""The version of the services that ran before the Secret was made: they show no token."""
READ_ANNOTATIONS = frozenset(
    (
        ANNOTATION_GENERATION,
        ANNOTATION_KEY_ID,
        ANNOTATION_SALT,
        ANNOTATION_REPLACES_WITHOUT_TLS,
        ANNOTATION_REPLACES_WITHOUT_TOKENS,
    )
)
"""The annotations of Secrets and ConfigMaps that are read. Others are not kept: any user who may write a Secret can add
as many as fit into it."""

CHILD_LABELS = {LABEL_PART_OF: "ecommerce", LABEL_MANAGED_BY: FIELD_MANAGER}
"""Labels of every child. The watches select by them on the server's side."""

RELEASE = "ControllerRevision"
"""The kind of the objects that have the releases of a platform."""
RELEASE_COMPONENT = "release"
"""A ControllerRevision `<platform>-release-<digest>` has one release."""

INVENTORY_COMPONENT = "applied"
"""The ConfigMap `<platform>-applied` has the inventory. It is not `<platform>-inventory`, since that is a service."""
INVENTORY_KEYS = ("content", "objects", "checksum", "release")
"""The keys of its data."""

ROTATION_COMPONENT = "rotation"
"""The ConfigMap `<platform>-rotation` has the steps of rotations, by kind."""

SALT_COMPONENT = "salt"
"""The ConfigMap `<platform>-salt` has the salt of its credentials."""
SALT_KEYS = ("salt", "platform")
"""The keys of its data: the salt, and the uid of the platform that used it last."""

Manifest: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON. Untyped, since the operator cannot know more about it than the API server does."""


class PlatformKey(NamedTuple):
    """Identifies one EcommercePlatform."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ObjectId(NamedTuple):
    """Identifies one child within its platform's namespace."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class ObjectKey(NamedTuple):
    """Identifies one object of the cluster."""

    namespace: str
    """Empty for a cluster-scoped object."""
    id: ObjectId


def object_key(kind: str, manifest: Manifest) -> ObjectKey:
    """Returns the key of an object. The kind is stated, since that of metadata alone is another."""
    metadata = manifest["metadata"]
    return ObjectKey(metadata.get("namespace", ""), ObjectId(kind, metadata["name"]))


@dataclass(frozen=True)
class AddOn:
    """An extension of a cluster that serves kinds, and may not be installed."""

    name: str
    install: str
    """The command that installs it."""
    instead: str = ""
    """How a spec does without it, as a sentence without its full stop; empty for the provider of a store, which never
    changes."""


@dataclass(frozen=True)
class Kind:
    """A kind and its address at the API server."""

    api_version: str
    kind: str
    plural: str
    add_on: AddOn | None = None
    """The add-on that serves the kind; None for a kind of Kubernetes or of the operator."""
    metadata_only: bool = False
    """True if the informers read its metadata alone, and the body never leaves the API server (docs/adr/0041)."""

    @property
    def optional(self) -> bool:
        return self.add_on is not None

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str | None = None) -> str:
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")


PLATFORM = Kind(f"{GROUP}/{PLATFORM_VERSION}", "EcommercePlatform", "ecommerceplatforms")
EVENT = Kind("v1", "Event", "events")
POD = Kind("v1", "Pod", "pods")
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

_RELEASES = "kubectl apply --server-side -f https://github.com/{}/releases/latest/download/{}"
_GATEWAY_API = AddOn(
    "The Gateway API",
    _RELEASES.format("kubernetes-sigs/gateway-api", "standard-install.yaml"),
    "Remove ingress.gateway from the spec",
)
_PROMETHEUS = AddOn(
    "The Prometheus operator",
    _RELEASES.format("prometheus-operator/prometheus-operator", "bundle.yaml"),
    "Set monitoring.serviceMonitors and monitoring.alerts of the spec to false",
)
_CLOUDNATIVE_PG = AddOn(
    "CloudNativePG",
    "kubectl apply --server-side -f https://raw.githubusercontent.com/cloudnative-pg/cloudnative-pg/v1.27.0/releases/"
    "cnpg-1.27.0.yaml",
)
_RABBITMQ_OPERATOR = AddOn(
    "The RabbitMQ cluster operator", _RELEASES.format("rabbitmq/cluster-operator", "cluster-operator.yml")
)
CHILD_KINDS: dict[str, Kind] = {
    kind.kind: kind
    for kind in (
        Kind("v1", "ConfigMap", "configmaps"),
        Kind("v1", "Secret", "secrets"),
        Kind("v1", "Service", "services"),
        Kind("v1", "ServiceAccount", "serviceaccounts"),
        Kind("apps/v1", "Deployment", "deployments"),
        Kind("apps/v1", "StatefulSet", "statefulsets"),
        Kind("apps/v1", "ControllerRevision", "controllerrevisions"),
        Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        Kind("batch/v1", "Job", "jobs"),
        Kind("networking.k8s.io/v1", "Ingress", "ingresses", metadata_only=True),
        Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", metadata_only=True),
        Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", metadata_only=True),
        Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", _GATEWAY_API, metadata_only=True),
        Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", _PROMETHEUS, metadata_only=True),
        Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules", _PROMETHEUS, metadata_only=True),
        Kind("postgresql.cnpg.io/v1", "Cluster", "clusters", _CLOUDNATIVE_PG),
        Kind("rabbitmq.com/v1beta1", "RabbitmqCluster", "rabbitmqclusters", _RABBITMQ_OPERATOR),
    )
}

DATABASE_CLUSTER = "Cluster"
"""The kind of a database that CloudNativePG runs."""
BROKER_CLUSTER = "RabbitmqCluster"
"""The kind of a broker that the RabbitMQ cluster operator runs."""
CLUSTER_KINDS = (DATABASE_CLUSTER, BROKER_CLUSTER)
"""The kinds of stores that an add-on runs: their volumes go with them."""
STORE_KINDS = ("StatefulSet", *CLUSTER_KINDS)
"""The kinds of stores, which hold data."""


def release_labels(platform: str) -> dict[str, str]:
    """Returns the labels of the releases of a platform."""
    return {
        **CHILD_LABELS,
        LABEL_NAME: RELEASE_COMPONENT,
        LABEL_INSTANCE: platform,
        LABEL_COMPONENT: RELEASE_COMPONENT,
    }


def owner_reference(kind: Kind, name: str, uid: str) -> Manifest:
    """Makes the garbage collector delete an object with its owner, for which a foreground deletion of that waits."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
