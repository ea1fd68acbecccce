from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_operator.api.kinds import PlatformKey
from platform_operator.api.spec import SERVICES, WITH_DATABASE, parse
from platform_operator.errors import InvalidSpecError
from platform_operator.render.profiles import PROFILES
from platform_operator.render.values import ChartValues, Installation, chart_values

SHOP = PlatformKey("shop", "shop")
_ROOT = Path(__file__).parents[3]
INSTALLATION = Installation("1.0", "registry:5000", "registry:5000/library/", "operators", ("key",))


def values_for(spec: dict[str, Any]) -> ChartValues:
    parsed = parse(spec)
    return chart_values(SHOP, parsed, INSTALLATION, parsed.profile)


def test_an_empty_spec_is_the_small_shop_at_the_operators_version() -> None:
    made = values_for({})
    assert made["global"]["image"] == {"registry": "registry:5000", "tag": "1.0", "pullSecrets": ["key"]}
    assert made["order"]["replicas"] == 1
    assert not made["order"]["autoscaling"]["enabled"]
    assert set(made) >= {*SERVICES, *(f"{name}-db" for name in WITH_DATABASE), "redis", "rabbitmq"}


def test_scheduling_reaches_the_charts_as_the_spec_states_it_and_is_else_left_out() -> None:
    assert values_for({})["global"]["pods"] == {"userIds": "Fixed"}
    assert "objects" not in values_for({})["global"]
    pods: dict[str, Any] = {
        "nodeSelector": {"pool": "shops"},
        "tolerations": [{"key": "shops", "operator": "Exists", "tolerationSeconds": 0, "effect": "NoExecute"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "high",
        "labels": {"team": "a"},
        "annotations": {"note": "b"},
    }
    objects = {"labels": {"cost": "1"}, "annotations": {"note": "c"}}
    made = values_for({"pods": pods, "objects": objects})["global"]
    assert made["pods"] == {"userIds": "Fixed", **pods}
    assert made["objects"] == objects


def test_pull_secrets_of_a_shop_follow_those_of_the_installation() -> None:
    secrets = [{"name": "own"}, {"name": "key"}]
    assert values_for({"pods": {"imagePullSecrets": secrets}})["global"]["image"]["pullSecrets"] == ["key", "own"]


def test_no_stateful_set_takes_its_volumes_with_it() -> None:
    """The deletion policy counts at deletion. Until then the charts' default holds, which is to retain them."""
    assert "deletionPolicy" not in values_for({"deletionPolicy": "Delete"})["global"]


def test_the_spec_chooses_the_version() -> None:
    assert values_for({"version": "2.0"})["global"]["image"]["tag"] == "2.0"


@pytest.mark.parametrize(("profile", "bounds"), [("medium", (2, 4)), ("large", (3, 10))])
def test_larger_profiles_have_autoscaling(profile: str, bounds: tuple[int, int]) -> None:
    scaling = values_for({"profile": profile})["order"]["autoscaling"]
    assert scaling == {"enabled": True, "min": bounds[0], "max": bounds[1], "targetCPUUtilization": 70}


def test_the_sample_shop_has_autoscalers_for_what_most_requests_pass() -> None:
    _, sample = yaml.safe_load_all((_ROOT / "manifests/samples/ecommerceplatform.yaml").read_text())
    made = values_for(sample["spec"])
    scaled = {service: made[service]["autoscaling"] for service in SERVICES if made[service]["autoscaling"]["enabled"]}
    bounds = {"enabled": True, "min": 1, "max": 3, "targetCPUUtilization": 500}
    assert scaled == dict.fromkeys(("gateway", "product", "order"), bounds)


def test_fixed_replicas_switch_the_profiles_autoscaling_off() -> None:
    order = values_for({"profile": "large", "services": {"order": {"replicas": 2}}})["order"]
    assert (order["replicas"], order["autoscaling"]["enabled"]) == (2, False)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("bounds", [{}, {"min": 5}, {"max": 1}, {"min": 2, "max": 2}, {"min": 50}])
def test_bounds_of_autoscaling_never_cross(profile: str, bounds: dict[str, int]) -> None:
    scaling = values_for({"profile": profile, "services": {"order": {"autoscaling": {"enabled": True, **bounds}}}})[
        "order"
    ]["autoscaling"]
    assert 1 <= scaling["min"] <= scaling["max"]
    assert bounds.items() <= scaling.items()


def test_monitoring_follows_the_spec_and_includes_the_operator() -> None:
    assert values_for({})["global"]["monitoring"] == {"prometheus": False, "serviceMonitors": False, "alerts": False}
    watched = values_for({"monitoring": {"enabled": True, "alerts": True}})
    assert watched["global"]["monitoring"] == {"prometheus": True, "serviceMonitors": False, "alerts": True}
    assert watched["monitoring"] == {"operator": "ecommerce-operator-pods.operators.svc"}


def test_the_spec_overrides_resources_field_by_field() -> None:
    order = values_for({"services": {"order": {"resources": {"limits": {"memory": "1Gi"}}}}})["order"]
    assert order["resources"] == {"requests": {"cpu": "50m", "memory": "112Mi"}, "limits": {"memory": "1Gi"}}


def test_stores_keep_the_profile_they_were_made_with_until_the_spec_states_their_size() -> None:
    made = chart_values(SHOP, parse({"profile": "large"}), INSTALLATION, "small")
    assert made["order"]["autoscaling"]["min"] == PROFILES["large"].scale[0]
    assert [made[store] for store in ("order-db", "redis", "rabbitmq")] == [
        values_for({})[store] for store in ("order-db", "redis", "rabbitmq")
    ]
    stated = parse({"profile": "large", "databases": {"storage": {"size": "5Gi"}}})
    assert chart_values(SHOP, stated, INSTALLATION, "small")["order-db"]["storage"]["size"] == "5Gi"


def test_external_stores_are_referenced_and_not_created() -> None:
    databases = {name: {"secretRef": {"name": f"their-{name}"}} for name in WITH_DATABASE}
    made = values_for({
        "databases": {"provider": "external", "external": databases},
        "cache": {"provider": "external", "secretRef": {"name": "their-redis"}},
        "broker": {"provider": "external", "secretRef": {"name": "their-rabbit"}},
    })  # fmt: skip
    assert not any(made[store]["enabled"] for store in ("order-db", "redis", "rabbitmq"))
    assert made["order"]["database"]["existingSecret"] == "their-order"
    assert {name for name in SERVICES if "cache" in made[name]} == {"gateway", "product", "user"}
    assert {name for name in SERVICES if "broker" in made[name]} == set(WITH_DATABASE)
    assert made["product"]["cache"]["existingSecret"] == "their-redis"
    assert made["payment"]["broker"]["existingSecret"] == "their-rabbit"


def test_an_external_database_may_have_a_role_for_the_service() -> None:
    databases: dict[str, Any] = {name: {"secretRef": {"name": "db"}} for name in WITH_DATABASE}
    databases["order"]["runtimeSecretRef"] = {"name": "order-runtime"}
    made = values_for({"databases": {"provider": "external", "external": databases}})
    assert made["order"]["database"] == {"existingSecret": "db", "runtimeSecret": "order-runtime"}
    assert made["payment"]["database"] == {"existingSecret": "db"}, "the service runs as the owner"


def test_an_external_store_may_have_its_own_port() -> None:
    databases: dict[str, Any] = {name: {"secretRef": {"name": "db"}} for name in WITH_DATABASE}
    databases["order"] = {**databases["order"], "port": 25060}
    made = values_for({
        "databases": {"provider": "external", "external": databases},
        "cache": {"provider": "external", "secretRef": {"name": "redis"}, "port": 25061},
        "broker": {"provider": "external", "secretRef": {"name": "rabbit"}, "port": 5671},
    })  # fmt: skip
    assert made["order"]["database"] == {"existingSecret": "db", "port": 25060}
    assert made["payment"]["database"] == {"existingSecret": "db"}, "the charts' own default"
    assert made["gateway"]["cache"] == {"existingSecret": "redis", "port": 25061}
    assert made["payment"]["broker"] == {"existingSecret": "rabbit", "port": 5671}


def test_by_default_payments_are_simulated_and_messages_only_logged() -> None:
    made = values_for({})
    assert (made["payment"]["provider"], made["payment"]["stripe"]) == ("simulated", {"existingSecret": ""})
    assert made["notification"]["smtp"] == {"host": ""}
    assert made["notification"]["sms"] == {"provider": "log", "existingSecret": ""}


def test_providers_get_the_secrets_they_need() -> None:
    made = values_for({
        "payments": {"provider": "stripe", "secretRef": {"name": "stripe"}},
        "notifications": {
            "smtp": {"host": "mail.example", "from": "shop@example.com", "port": 2525, "secretRef": {"name": "mail"}},
            "sms": {"provider": "twilio", "secretRef": {"name": "twilio"}},
        },
    })  # fmt: skip
    assert (made["payment"]["provider"], made["payment"]["stripe"]["existingSecret"]) == ("stripe", "stripe")
    assert made["notification"]["smtp"] == {
        "host": "mail.example",
        "port": 2525,
        "from": "shop@example.com",
        "startTls": True,
        "existingSecret": "mail",
    }
    assert made["notification"]["sms"] == {"provider": "twilio", "existingSecret": "twilio"}


def test_links_in_mails_have_the_url_of_the_shop() -> None:
    assert values_for({})["notification"]["shop"]["url"] == "http://shop-gateway.shop.svc:8080"
    reached = values_for({"ingress": {"enabled": True, "host": "a.example", "tls": {"secretName": "t"}}})
    assert reached["notification"]["shop"]["url"] == "https://a.example"


def test_the_operators_own_namespace_may_read_metrics() -> None:
    assert values_for({})["global"]["networkPolicies"]["metricsFrom"] == ["monitoring", "operators"]


def test_a_gateway_replaces_the_ingress() -> None:
    made = values_for({"ingress": {"enabled": True, "host": "a.example", "gateway": {"name": "public"}}})
    assert (made["ingress"]["enabled"], made["gatewayApi"]["enabled"]) == (False, True)


def test_user_ids_may_be_left_to_the_cluster() -> None:
    assert values_for({})["global"]["pods"] == {"userIds": "Fixed"}
    assert values_for({"pods": {"userIds": "Assigned"}})["global"]["pods"] == {"userIds": "Assigned"}


def test_the_namespaces_of_proxies_reach_the_gateway() -> None:
    assert values_for({})["gateway"]["proxyNamespaces"] == []
    made = values_for({"ingress": {"enabled": True, "host": "a.example", "proxyNamespaces": ["ingress-nginx"]}})
    assert made["gateway"]["proxyNamespaces"] == ["ingress-nginx"]


def test_an_invalid_spec_that_was_stored_is_refused_with_the_path_of_the_field() -> None:
    with pytest.raises(InvalidSpecError, match=r"spec\.services\.order\.replicas"):
        parse({"services": {"order": {"replicas": "many"}}})


def test_the_small_shop_fits_the_budget_with_all_eight_services_and_seven_databases() -> None:
    small = PROFILES["small"]
    sizes = [small.service] * 8 + [small.database] * 7 + [small.cache, small.broker]
    assert sum(int(size.cpu.removesuffix("m")) for size in sizes) <= 1500
    assert sum(int(size.memory.removesuffix("Mi")) for size in sizes) <= 3 * 1024


def test_settings_of_a_service_are_passed_to_its_chart() -> None:
    rates = {"USD": {"amount": 499, "freeFrom": 5000}, "EUR": {"amount": 450}}
    made = values_for({"settings": {"order": {"shippingRates": rates, "orderTtlSeconds": 600}}})

    assert made["order"]["settings"] == {"shippingRates": rates, "orderTtlSeconds": 600}


def test_settings_of_the_shop_are_passed_to_every_chart() -> None:
    stripe = {"provider": "stripe", "secretRef": {"name": "stripe"}}
    made = values_for({"settings": {"currencies": ["EUR", "USD"]}, "payments": stripe})

    assert made["global"]["settings"] == {"currencies": ["EUR", "USD"], "paymentProvider": "stripe"}
    assert "settings" not in values_for({"settings": {"order": {"orderTtlSeconds": 600}}})["global"]


def test_a_service_without_settings_keeps_the_defaults_of_its_chart() -> None:
    assert not any("settings" in part for part in values_for({}).values())
