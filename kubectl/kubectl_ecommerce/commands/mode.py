"""`pause` and `resume`: whether the operator changes a shop or only observes it."""

from __future__ import annotations

from kubectl_ecommerce.commands.command import Command, Report, Session, message_report, patch


def pause(session: Session) -> Report:
    shop = session.shop()
    if shop.observes:
        return message_report(shop, "is paused already")
    return patch(session, shop, {"spec": {"mode": "Observe"}}, "paused: the operator changes and repairs nothing")


def resume(session: Session) -> Report:
    """Removes `spec.paused`, the earlier name of the mode, too."""
    shop = session.shop()
    if not shop.observes:
        return message_report(shop, "is not paused")
    change = {"spec": {"mode": "Manage", "paused": None}}
    return patch(session, shop, change, "resumed: the operator keeps the shop as the spec says")


PAUSE = Command(
    "pause",
    "stop the operator from changing or repairing a shop",
    "Sets spec.mode to Observe: the shop keeps running, and the operator changes, repairs and deletes nothing of it. "
    "`kubectl ecommerce diff` then shows what it would do. If the shop comes from Git, change it there.",
    ("pause", "pause shop -n shop"),
    pause,
    changes=True,
)

RESUME = Command(
    "resume",
    "let the operator change a paused shop again",
    "Sets spec.mode to Manage: the operator makes the changes that `kubectl ecommerce diff` shows. If the shop comes "
    "from Git, change it there.",
    ("resume", "resume shop -n shop"),
    resume,
    changes=True,
)
