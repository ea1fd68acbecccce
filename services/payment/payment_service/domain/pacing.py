"""How long to wait before asking the provider again. Pure."""

from datetime import timedelta

_FIRST_SECONDS = 2.0
_LONGEST_SECONDS = 300.0


def pause(attempts: int, chance: float) -> timedelta:
    """Doubles with every attempt, up to five minutes. `chance`, between 0 and 1, spreads processes and payments apart."""
    seconds = min(_FIRST_SECONDS * 2.0 ** min(attempts, 20), _LONGEST_SECONDS)
    return timedelta(seconds=seconds * (0.5 + chance / 2))


def pause_of_refunds(refused: int) -> timedelta:
    """Before a refund that the provider refused, `refused` times before this one, is tried again: from five minutes up to a day."""
    return min(timedelta(minutes=5 * 2.0 ** min(refused, 20)), timedelta(days=1))
