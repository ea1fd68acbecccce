"""The commands, one module for each. `COMMANDS` has them in the order in which the help lists them."""

from __future__ import annotations

from kubectl_ecommerce.commands import diff, invariants, mode, retry, rollback, status, why
from kubectl_ecommerce.commands.command import Command

COMMANDS: tuple[Command, ...] = (
    status.STATUS,
    why.WHY,
    diff.DIFF,
    invariants.INVARIANTS,
    mode.PAUSE,
    mode.RESUME,
    rollback.ROLLBACK,
    retry.RETRY,
)
