"""Passwords that are refused because they are guessed first (NIST SP 800-63B, 3.1.1.2).

They are those on a list of leaked passwords, and derivatives of the account's own address and name.
"""

import importlib.resources
import string
from functools import cache

from user_service.domain.errors import PasswordTooCommon

_ENDINGS = string.digits + string.punctuation + string.whitespace
"""What people append to a word that they are told not to use."""


def refuse_common(password: str, *own: str | None) -> None:
    """Raises PasswordTooCommon for a listed password, or one made of a word of the account (`own`).

    Case does not count, and for the account's words neither do digits and punctuation at the end. The domain of an
    e-mail address is not one of its words.
    """
    folded = password.casefold()
    if folded in _listed() or folded.rstrip(_ENDINGS) in {word for text in own for word in _words(text)}:
        raise PasswordTooCommon


def _words(text: str | None) -> set[str]:
    """Returns the forms of an address or a name that a password may not have."""
    folded = (text or "").casefold()
    forms = {folded, folded.partition("@")[0], folded.replace(" ", "")}
    return {form.rstrip(_ENDINGS) for form in forms} - {""}


@cache
def _listed() -> frozenset[str]:
    text = (importlib.resources.files("user_service.domain") / "common_passwords.txt").read_text()
    return frozenset(line for line in text.splitlines() if not line.startswith("# "))
