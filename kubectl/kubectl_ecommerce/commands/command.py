"""Defines a command of the plugin, its session and its report."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubectl_ecommerce.errors import NoSuchShopError, NotFoundError
from kubectl_ecommerce.kubectl import SHOPS, Kubectl
from kubectl_ecommerce.output import Style, clean
from kubectl_ecommerce.shop import Shop


@dataclass(frozen=True)
class Report:
    """The result of a command: as data for scripts, and as text for people."""

    data: Mapping[str, Any]
    render: Callable[[Style], str]


@dataclass(frozen=True)
class Session:
    """One run of the plugin: kubectl, the arguments, and the time."""

    kubectl: Kubectl
    arguments: Namespace
    now: datetime

    def shop(self) -> Shop:
        """Returns the shop that the arguments name, or the only one of the namespace. Raises NoSuchShopError."""
        if self.arguments.shop is None:
            return self._only_shop()
        try:
            return Shop(self.kubectl.read(SHOPS, self.arguments.shop, *self._namespace))
        except NotFoundError:
            raise NoSuchShopError(
                f"there is no shop {self.arguments.shop} in {self._where}: list all with kubectl ecommerce status -A"
            ) from None

    def shops(self, *, everywhere: bool) -> list[Shop]:
        """Returns the shops of the namespace or of the cluster, sorted by namespace and name."""
        scope = ("--all-namespaces",) if everywhere else self._namespace
        shops = [Shop(item) for item in self.kubectl.read(SHOPS, *scope)["items"]]
        return sorted(shops, key=lambda one: (one.namespace, one.name))

    def _only_shop(self) -> Shop:
        shops = self.shops(everywhere=False)
        if not shops:
            raise NoSuchShopError(f"there is no shop in {self._where}: list all with kubectl ecommerce status -A")
        if len(shops) > 1:
            names = ", ".join(one.name for one in shops)
            raise NoSuchShopError(f"{self._where} has several shops ({names}): name one of them")
        return shops[0]

    @property
    def _namespace(self) -> tuple[str, ...]:
        return ("--namespace", self.arguments.namespace) if self.arguments.namespace else ()

    @property
    def _where(self) -> str:
        return f"namespace {self.arguments.namespace}" if self.arguments.namespace else "this namespace"


def _no_arguments(parser: ArgumentParser) -> None:
    """Adds no argument."""


@dataclass(frozen=True)
class Command:
    """A command of the plugin."""

    name: str
    summary: str
    """One line for the list of commands."""
    description: str
    examples: tuple[str, ...]
    run: Callable[[Session], Report]
    add_arguments: Callable[[ArgumentParser], None] = _no_arguments
    changes: bool = False
    """True if the command writes, so that it has the option --dry-run."""
    resource: str = SHOPS
    """The resource that the last argument names."""


def patch(session: Session, shop: Shop, change: Mapping[str, Any], done: str) -> Report:
    """Changes a shop, and reports what was done."""
    dry_run: bool = session.arguments.dry_run
    session.kubectl.patch_shop(shop.namespace, shop.name, change, dry_run=dry_run)
    return message_report(shop, f"{done} (dry run: nothing was changed)" if dry_run else done)


def message_report(shop: Shop, message: str) -> Report:
    """Returns a report that consists of one message about a shop."""
    data = {"namespace": shop.namespace, "name": shop.name, "done": message}
    return Report(data, lambda _: f"{shop}: {clean(message)}\n")
