"""The specs of Tenant and TenantPlan: their fields, defaults and rules, as `spec` has those of an EcommercePlatform."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import ConfigDict, Field

from platform_operator.api.kinds import GROUP, VERSION, Kind
from platform_operator.api.schema import Model, rule, rules
from platform_operator.api.spec import Maintenance, Quantities, Spec

TENANT = Kind(f"{GROUP}/{VERSION}", "Tenant", "tenants")
TENANT_PLAN = Kind(f"{GROUP}/{VERSION}", "TenantPlan", "tenantplans")

LABEL_TENANT = f"{GROUP}/tenant"
"""The label of a tenant's namespace and of what is in it: the tenant's name."""
LABEL_PLAN = f"{GROUP}/plan"
ANNOTATION_KEEP = f"{GROUP}/keep"
"""Ends the deletion of a tenant without deleting its namespace, if its value is true."""
TENANT_FINALIZER = f"{GROUP}/tenant"
SHOP = "shop"
"""The name of a tenant's EcommercePlatform in its namespace."""

PROFILES = ("small", "medium", "large")
RESERVED_FIELDS = (
    "backup", "hibernated", "ingress", "mode", "networkPolicies", "objects", "operatorClassName", "paused", "pods",
)  # fmt: skip
"""Fields of a shop that no plan leaves to a tenant's admins: hosts are unique across tenants, backups and suspension
are the platform team's, and the others decide on isolation."""
ALLOWABLE_FIELDS = tuple(
    sorted(name for field, one in Spec.model_fields.items() if (name := one.alias or field) not in RESERVED_FIELDS)
)


class TenantReason(StrEnum):
    """The reason of a condition of a Tenant. Part of the API."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    UPGRADE_FAILED = "UpgradeFailed"
    SUSPENDED = "Suspended"
    SUSPENDING = "Suspending"
    PLAN_MISSING = "PlanMissing"
    PLAN_VIOLATED = "PlanViolated"
    HOST_TAKEN = "HostTaken"
    HOST_FREE = "HostFree"
    NAMESPACE_TAKEN = "NamespaceTaken"
    REFUSED = "Refused"
    APPLIED = "Applied"
    WAITING_FOR_TURN = "WaitingForTurn"
    GRACE_PERIOD = "GracePeriod"
    DELETING_NAMESPACE = "DeletingNamespace"


ShopFields: TypeAlias = dict[str, Any]


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"


class PlanRef(Model):
    """A reference to a TenantPlan."""

    name: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="Name of a TenantPlan.")


class Subject(Model):
    """A person, group or service account, as RBAC names them."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.kind in ['User', 'Group', 'ServiceAccount']",
                "admins[].kind must be User, Group or ServiceAccount",
                ".kind",
            ),
            rule(
                "(self.kind == 'ServiceAccount') == has(self.namespace)",
                "admins[].namespace is needed for a ServiceAccount, and for nothing else: write it, or remove it",
                ".namespace",
            ),
        )
    )

    kind: Annotated[str, Field(max_length=32)] = Field(description="User, Group or ServiceAccount.")
    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Name, as the cluster knows it.")
    namespace: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Namespace of a ServiceAccount."
    )


class TenantSpec(Model):
    """The desired state of a tenant: whose shop it is, and by which plan."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.deleteAfter.matches('^[0-9]{1,5}[mhd]$')",
                "deleteAfter must be a number of minutes, hours or days: write for example 7d, 12h or 0m",
                ".deleteAfter",
            ),
            rule(
                f"!has(self.host) || self.host.matches('^{_LABEL}([.]{_LABEL})*$')",
                "host must be a DNS name without scheme, port or path: write for example shop.example.com",
                ".host",
            ),
        )
    )

    display_name: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="Name for people.")
    plan_ref: PlanRef = Field(description="Plan that the tenant has.")
    host: Annotated[str, Field(max_length=253)] | None = Field(
        default=None,
        description="Host name of the shop, which no other tenant may have. Default: none, the shop is reached inside "
        "the cluster alone.",
    )
    admins: list[Subject] = Field(
        default=[],
        max_length=50,
        description="Who may change the fields of the shop that the plan allows, and read its pods.",
    )
    suspended: bool = Field(default=False, description="Hibernate the shop: no pod runs, and the data is kept.")
    delete_after: Annotated[str, Field(max_length=8)] = Field(
        default="7d",
        description="How long a deleted tenant's shop is kept, hibernated: minutes, hours or days, e.g. 7d or 12h.",
    )
    platform: ShopFields = Field(default={}, description="Fields of the shop's spec, over the defaults of the plan.")


def _in_order(lower: str, upper: str, resource: str) -> dict[str, str]:
    """Returns the rule that a LimitRange has for two of its amounts. Their own rules report what is no quantity."""
    one, other = f"self.{lower}.{resource}", f"self.{upper}.{resource}"
    return rule(
        f"!has(self.{lower}) || !has(self.{upper}) || !has({one}) || !has({other}) || "
        f"!isQuantity({one}) || !isQuantity({other}) || quantity({one}).compareTo(quantity({other})) <= 0",
        f"limits.{lower}.{resource} must not exceed limits.{upper}.{resource}: lower it, or raise the other",
    )


class Limits(Model):
    """Requests and limits of a container in the namespace that states none, and the greatest limits."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                _in_order(lower, upper, resource)
                for lower, upper in (("defaultRequest", "default"), ("defaultRequest", "max"), ("default", "max"))
                for resource in ("cpu", "memory")
            )
        )
    )

    default_request: Quantities = Field(default=Quantities(), description="Requests of a container that states none.")
    default: Quantities = Field(default=Quantities(), description="Limits of a container that states none.")
    max: Quantities = Field(default=Quantities(), description="Greatest limits of a container.")


QuotaAmount: TypeAlias = Annotated[
    str,
    Field(
        max_length=32,
        json_schema_extra=rules(
            rule(
                "isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",
                "quota must have Kubernetes quantities that are not negative: write for example 50, 500m or 20Gi",
            )
        ),
    ),
]


class TenantPlanSpec(Model):
    """What the tenants of a plan have, and what their admins may change."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(f"self.maxProfile in {list(PROFILES)}", "maxProfile must be small, medium or large", ".maxProfile"),
            rule(
                f"!has(self.allowedFields) || self.allowedFields.all(name, name in {list(ALLOWABLE_FIELDS)})",
                "allowedFields must have only fields that a plan can leave to admins: use "
                + ", ".join(ALLOWABLE_FIELDS),
                ".allowedFields",
            ),
        )
    )

    max_profile: Annotated[str, Field(max_length=32)] = Field(
        default="small", description="Largest profile of a shop: small, medium or large."
    )
    defaults: ShopFields = Field(
        default={},
        description="Fields of the shops' spec. Those in allowedFields are set at the creation alone, others always.",
    )
    allowed_fields: list[Annotated[str, Field(max_length=64)]] = Field(
        default=[],
        max_length=40,
        description="Fields of the shop's spec that the tenant's admins may change, such as settings or notifications.",
    )
    hosts: list[Annotated[str, Field(max_length=253)]] = Field(
        default=[],
        max_length=20,
        description="Patterns of host names, in which * stands for one label: *.shops.example.com. Default: any host.",
    )
    quota: dict[str, QuotaAmount] = Field(
        default={}, max_length=50, description="Limits of the namespace, as in a ResourceQuota, e.g. requests.cpu: 4."
    )
    limits: Limits = Field(default=Limits(), description="Defaults and limits of containers, as in a LimitRange.")
    maintenance: Maintenance | None = Field(
        default=None, description="Hours in which releases of the operator may begin to roll out to the shops."
    )
    concurrency: int = Field(
        default=5, ge=1, le=100, description="Number of tenants to which a change of this plan is applied at a time."
    )
