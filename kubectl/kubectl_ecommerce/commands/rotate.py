"""`rotate`: asks for new credentials of one kind, or of all."""

from __future__ import annotations

from argparse import ArgumentParser

from kubectl_ecommerce.commands.command import Command, Report, Session, patch
from kubectl_ecommerce.shop import ROTATE_ANNOTATION

KINDS = ("signing", "grpc", "databases", "owners", "broker", "cache", "admin", "all")
"""What can be rotated: the kinds of the operator, and all of them."""


def run(session: Session) -> Report:
    """A name that no earlier request has makes each request one of its own: the time."""
    shop, kind = session.shop(), session.arguments.kind
    request = f"{kind}:{session.now:%Y%m%dT%H%M%SZ}"
    change = {"metadata": {"annotations": {ROTATE_ANNOTATION: request}}}
    watch = f"watch it with kubectl ecommerce status {shop.name} -n {shop.namespace}"
    return patch(session, shop, change, f"a rotation is asked for ({request}): {watch}")


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help=f"credentials to replace: {', '.join(KINDS)}")


ROTATE = Command(
    "rotate",
    "replace credentials of a shop, without a failed request",
    "Sets the annotation platform.ecommerce.dev/rotate, which asks the operator to replace credentials: signing (of "
    "access tokens and mail tokens), grpc (the tokens between services), databases (the roles that services log in "
    "as), owners (the passwords of the owners of databases), broker (the users of RabbitMQ), cache (the "
    "password of the builtin Redis), admin (the password of the first admin), or all of them. A rotation goes in "
    "steps, which the command status shows.",
    ("rotate grpc", "rotate all shop -n shop"),
    run,
    _add_arguments,
    changes=True,
)
