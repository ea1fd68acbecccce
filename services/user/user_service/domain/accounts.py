"""People with an account: what their e-mail address, password and name may be. Pure."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from chassis.kernel.ids import UserId

Email = NewType("Email", str)
"""An address in its normal form; two spellings of one mailbox have the same."""

_LOCAL = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{3,254}}$)(?=.{{1,64}}@){_LOCAL}@(?:{_LABEL}\.)+(?!\d+$){_LABEL}")

PASSWORD_MIN, PASSWORD_MAX = 8, 128
"""Characters (NIST SP 800-63B, 5.1.1.2). Any of Unicode's will do; no composition is asked for."""


class Role(StrEnum):
    CUSTOMER = "customer"
    SELLER = "seller"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Account:
    """A user as others may see them; the password's hash is not part of it."""

    id: UserId
    email: Email
    role: Role
    display_name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account before the database gave it its id."""

    email: Email
    role: Role
    display_name: str | None = None


def normal_email(text: str) -> Email:
    """Raises ValueError for what is not an address of the shape that mail servers accept (RFC 5321, without quoted
    local parts and without the characters of RFC 6531).
    """
    address = text.strip().lower()
    if not _ADDRESS.fullmatch(address):
        raise ValueError("write an e-mail address, like ada@example.com")
    return Email(address)


def normal_password(text: str) -> str:
    """A new password in the form that is hashed. Raises ValueError."""
    if not PASSWORD_MIN <= len(text) <= PASSWORD_MAX:
        raise ValueError(f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    if any(unicodedata.category(character) in _UNWRITABLE for character in text):
        raise ValueError("a password has no control characters")
    return typed_password(text)


def typed_password(text: str) -> str:
    """One form for what keyboards write in several ways: NFKC, as NIST SP 800-63B (5.1.1.2) asks for."""
    return unicodedata.normalize("NFKC", text)


def normal_name(text: str) -> str:
    """A name as it is shown: without spaces around it, one line. Raises ValueError."""
    name = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(name) <= 100:
        raise ValueError("a name has 1 to 100 characters")
    if any(unicodedata.category(character) in _UNWRITABLE for character in name):
        raise ValueError("a name has no control characters")
    return name


_UNWRITABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of Unicode: controls, halves of surrogate pairs (which UTF-8 cannot carry), line and paragraph ends."""


def name_of(user_id: UserId, display_name: str | None) -> str:
    """What others see of somebody who gave no name: nothing that identifies a person."""
    return display_name or f"User {user_id}"
