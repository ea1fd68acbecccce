"""`hibernate` and `wake`: stop every pod of a shop and keep its data, and start it again."""

from __future__ import annotations

from kubectl_ecommerce.commands.command import Command, Report, Session, message_report, patch


def hibernate(session: Session) -> Report:
    shop = session.shop()
    if shop.spec.get("hibernated"):
        return message_report(shop, "is to be hibernated already")
    return patch(session, shop, {"spec": {"hibernated": True}}, "hibernates: its pods are stopped, its data is kept")


def wake(session: Session) -> Report:
    shop = session.shop()
    if not shop.spec.get("hibernated"):
        return message_report(shop, "is not hibernated")
    watch = f"watch it with kubectl ecommerce status {shop.name} -n {shop.namespace}"
    return patch(session, shop, {"spec": {"hibernated": False}}, f"wakes: {watch}")


HIBERNATE = Command(
    "hibernate",
    "stop every pod of a shop, and keep its data",
    "Sets spec.hibernated: the pods of the services stop, and then those of the builtin stores. Volumes, Secrets and "
    "the version stay. Customers get no answer until the shop is woken. If the shop comes from Git, change it there.",
    ("hibernate", "hibernate shop -n shop"),
    hibernate,
    changes=True,
)

WAKE = Command(
    "wake",
    "start a hibernated shop again",
    "Sets spec.hibernated to false: the stores start, and then the services, at the version that the shop had. If the "
    "shop comes from Git, change it there.",
    ("wake", "wake shop -n shop"),
    wake,
    changes=True,
)
