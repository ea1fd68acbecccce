"""The part of the spec about all pods and objects of a shop: scheduling, registries' Secrets, labels and annotations.

Fields have the names and shapes that a pod's spec has for them. Items of lists have no defaults: a tool that compares
a list with its source, as Argo CD does, would see a difference in each default.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import ConfigDict, Field

from platform_operator.api.schema import Model, rule, rules

_LABEL_NAME = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_LABEL_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
_RESERVED_LABELS = "^(([^/]+[.])?(kubernetes|k8s)[.]io|platform[.]ecommerce[.]dev)/|-hash$|^controller-uid$|^job-name$"
"""Labels by which the objects of a shop find each other, and those of Kubernetes. charts/common refuses the same."""
_RESERVED_ANNOTATIONS = "^(platform[.]ecommerce[.]dev|kubectl[.]kubernetes[.]io)/"


def _names(field: str, example: str) -> dict[str, str]:
    return rule(
        f"self.all(name, name.matches('{_LABEL_NAME}'))",
        f"names of {field} must be label names of Kubernetes: write for example {example}",
    )


_LabelValue: TypeAlias = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=rules(
            rule(
                f"self.matches('{_LABEL_VALUE}')",
                "values of labels must have only letters, digits, - _ and ., and begin and end with a letter or digit: "
                "write for example team-a",
            )
        ),
    ),
]


def _labels(description: str) -> Any:
    return Field(
        default={},
        max_length=32,
        description=description,
        json_schema_extra=rules(
            _names("labels", "cost-center or example.com/team"),
            rule(
                f"!self.exists(name, name.matches('{_RESERVED_LABELS}'))",
                "labels must not be those that the platform or Kubernetes sets (app.kubernetes.io/* and others of "
                "kubernetes.io and k8s.io, platform.ecommerce.dev/*, *-hash, controller-uid, job-name): use a name of "
                "your own, for example example.com/team",
            ),
        ),
    )


def _annotations(description: str) -> Any:
    return Field(
        default={},
        max_length=32,
        description=description,
        json_schema_extra=rules(
            _names("annotations", "example.com/contact"),
            rule(
                f"!self.exists(name, name.matches('{_RESERVED_ANNOTATIONS}'))",
                "annotations must not be those that the platform or kubectl sets (platform.ecommerce.dev/*, "
                "kubectl.kubernetes.io/*): use a name of your own, for example example.com/contact",
            ),
        ),
    )


_Labels: TypeAlias = dict[str, _LabelValue]
_Annotations: TypeAlias = dict[str, Annotated[str, Field(max_length=4096)]]


class Toleration(Model):
    """A taint of nodes that the pods tolerate."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.operator) || self.operator in ['Exists', 'Equal']",
                "operator of a toleration must be Exists or Equal (the default)",
                ".operator",
            ),
            rule(
                "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
                "a toleration with operator Exists tolerates every value: remove value, or write operator: Equal",
                ".value",
            ),
            rule(
                "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
                "a toleration without key tolerates every taint: write operator: Exists if that is meant, else set key",
                ".key",
            ),
            rule(
                "!has(self.effect) || self.effect in ['', 'NoSchedule', 'PreferNoSchedule', 'NoExecute']",
                "effect of a toleration must be NoSchedule, PreferNoSchedule or NoExecute; without it, all are meant",
                ".effect",
            ),
            rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds has an effect with effect NoExecute only: set effect: NoExecute, or remove it",
                ".tolerationSeconds",
            ),
        )
    )

    key: Annotated[str, Field(max_length=317)] | None = Field(default=None, description="Key of the taint.")
    operator: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="Equal (the default) compares the value, Exists does not."
    )
    value: Annotated[str, Field(max_length=63)] | None = Field(default=None, description="Value of the taint.")
    effect: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="NoSchedule, PreferNoSchedule or NoExecute. Default: all of them."
    )
    toleration_seconds: int | None = Field(
        default=None,
        description="Seconds for which a pod stays on a node that gets a taint NoExecute. Default: always.",
    )


class Affinity(Model):
    """Affinity of the pods to nodes and to other pods. Each field is as in the affinity of a pod."""

    node_affinity: dict[str, Any] | None = Field(default=None, description="As spec.affinity.nodeAffinity of a pod.")
    pod_affinity: dict[str, Any] | None = Field(default=None, description="As spec.affinity.podAffinity of a pod.")
    pod_anti_affinity: dict[str, Any] | None = Field(
        default=None, description="As spec.affinity.podAntiAffinity of a pod."
    )


class TopologySpreadConstraint(Model):
    """How the pods of one service are spread. The selector of the service's own pods is added to it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.whenUnsatisfiable in ['DoNotSchedule', 'ScheduleAnyway']",
                "whenUnsatisfiable must be DoNotSchedule or ScheduleAnyway",
                ".whenUnsatisfiable",
            ),
            rule(
                "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
                "minDomains has an effect with whenUnsatisfiable DoNotSchedule only: write that, or remove minDomains",
                ".minDomains",
            ),
        )
    )

    max_skew: int = Field(ge=1, description="Greatest difference between the numbers of pods in two domains.")
    topology_key: Annotated[str, Field(min_length=1, max_length=317)] = Field(
        description="Label of nodes whose values are the domains, for example topology.kubernetes.io/zone."
    )
    when_unsatisfiable: Annotated[str, Field(max_length=32)] = Field(description="DoNotSchedule or ScheduleAnyway.")
    min_domains: int | None = Field(default=None, ge=1, description="Least number of domains with nodes for the pods.")


class ImagePullSecret(Model):
    """A Secret for a registry of images, in the platform's namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Name of the Secret.")


class Pods(Model):
    """What all pods of the shop have in common: those of services, of stores and of migrations."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.userIds in ['Fixed', 'Assigned']",
                "userIds must be Fixed (the ids of the images) or Assigned (the cluster assigns them)",
                ".userIds",
            )
        )
    )

    user_ids: Annotated[str, Field(max_length=32)] = Field(
        default="Fixed",
        description="User and group ids of the pods. Fixed: 10001 for services, 999 for stores. Assigned: left out, "
        "for clusters that assign them, as OpenShift's restricted-v2 does.",
    )
    node_selector: dict[str, _LabelValue] = Field(
        default={},
        max_length=32,
        description="Labels that a node must have. The volumes of stores must be reachable from such a node.",
        json_schema_extra=rules(_names("nodeSelector", "kubernetes.io/arch or example.com/pool")),
    )
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = Field(
        default=None, description="Taints of nodes that the pods tolerate."
    )
    affinity: Affinity = Field(default=Affinity(), description="Affinity of the pods to nodes and to other pods.")
    topology_spread_constraints: Annotated[list[TopologySpreadConstraint], Field(max_length=8)] | None = Field(
        default=None,
        description="How the pods of each service are spread; a store has one pod. Default: over nodes, if possible.",
    )
    priority_class_name: str | None = Field(
        default=None,
        max_length=253,
        description="PriorityClass of the pods. Default: the cluster's.",
        json_schema_extra=rules(
            rule(
                "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
                "priorityClassName must be the name of a PriorityClass: write for example high-priority",
            )
        ),
    )
    image_pull_secrets: Annotated[list[ImagePullSecret], Field(max_length=16)] | None = Field(
        default=None, description="Secrets for the registries of images, besides those of the operator's installation."
    )
    labels: _Labels = _labels("Further labels of all pods.")
    annotations: _Annotations = _annotations("Further annotations of all pods.")


class Objects(Model):
    """What all objects of the shop have in common, but for their volumes, whose labels cannot change."""

    labels: _Labels = _labels("Further labels of all objects. Those of pods are pods.labels.")
    annotations: _Annotations = _annotations("Further annotations of all objects. Those of pods are pods.annotations.")
