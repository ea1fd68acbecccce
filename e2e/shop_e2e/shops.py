"""Further shops beside the sample: small enough for a machine of two cores to hold a second one."""

from shop_e2e.kubectl import Object

_TINY = {"requests": {"cpu": "10m"}}
SERVICES = ("gateway", "user", "product", "inventory", "order", "review")


def platform(name: str, **spec: object) -> Object:
    """An EcommercePlatform that asks for next to no processor time."""
    tiny = {
        "services": {service: {"resources": _TINY} for service in SERVICES},
        "databases": {"resources": _TINY},
        "cache": {"resources": _TINY},
        "broker": {"resources": _TINY},
    }
    return {
        "apiVersion": "platform.ecommerce.dev/v1alpha1",
        "kind": "EcommercePlatform",
        "metadata": {"name": name},
        "spec": {"profile": "small", **tiny, **spec},
    }


def node_port(platform_name: str, port: int) -> Object:
    """Reaches a shop's gateway from this machine: node ports 30081 to 30084 are 127.0.0.1:18081 to 18084."""
    gateway = {"app.kubernetes.io/instance": platform_name, "app.kubernetes.io/component": "gateway"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "reached"},
        "spec": {
            "type": "NodePort",
            "selector": gateway,
            "ports": [{"port": 8080, "targetPort": 8080, "nodePort": port}],
        },
    }
