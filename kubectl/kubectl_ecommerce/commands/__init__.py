"""The commands, one module for each. `COMMANDS` has them in the order in which the help lists them."""

from __future__ import annotations

from kubectl_ecommerce.commands import (
    backup,
    diff,
    hibernate,
    invariants,
    mode,
    resend_events,
    restore,
    retry,
    rollback,
    rotate,
    status,
    support_bundle,
    tenants,
    verify,
    why,
)
from kubectl_ecommerce.commands.command import Command

COMMANDS: tuple[Command, ...] = (
    status.STATUS,
    why.WHY,
    diff.DIFF,
    invariants.INVARIANTS,
    tenants.TENANTS_COMMAND,
    mode.PAUSE,
    mode.RESUME,
    hibernate.HIBERNATE,
    hibernate.WAKE,
    rollback.ROLLBACK,
    retry.RETRY,
    rotate.ROTATE,
    resend_events.RESEND_EVENTS,
    backup.BACKUP,
    verify.VERIFY,
    restore.RESTORE,
    support_bundle.SUPPORT_BUNDLE,
)
