"""People with an account: what their e-mail address, password and name may be. Pure."""

import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType

from chassis.types.ids import UserId

Email = NewType("Email", str)
"""An address in its normal form; two spellings of one mailbox have the same."""

_LOCAL = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{3,254}}$)(?=.{{1,64}}@){_LOCAL}@(?:{_LABEL}\.)+(?!\d+$){_LABEL}")
EMAIL_PATTERN = rf"^\s*(?=[^@]{{1,64}}@)(?=\S{{3,254}}\s*$){_LOCAL}@(?:{_LABEL}\.)+(?!\d+\s*$){_LABEL}\s*$".replace(
    "a-z", "A-Za-z"
)
"""The same, as callers may write it."""

Locale = NewType("Locale", str)
"""A language tag (BCP 47) in its usual case: `en`, `de-AT`, `zh-Hant-TW`."""
Phone = NewType("Phone", str)
"""A telephone number in the form of E.164: `+4915112345678`."""

DEFAULT_LOCALE = Locale("en")
LOCALE_PATTERN = "^[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?$"
"""Language, script, region: what people have of BCP 47 (RFC 5646), without its variants and extensions."""
PHONE_PATTERN = "^\\+[1-9][0-9]{6,14}$"
"""At most 15 digits (ITU-T E.164, 6)."""

_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
PASSWORD_PATTERN = f"^[^{_CONTROLS}]*$"
NAME_PATTERN = rf"^[^{_CONTROLS}]*[^\s{_CONTROLS}][^{_CONTROLS}]*$"
NAME_MAX = 100
_SPACED_NAME_MAX = 1000
"""With the spaces around it: nobody's name keeps the process busy."""
PASSWORD_MIN, PASSWORD_MAX = 8, 128
"""Characters (NIST SP 800-63B, 5.1.1.2). Any of Unicode's will do; no composition is asked for."""

DELETED_NAME = "Deleted user"


class Role(StrEnum):
    CUSTOMER = "customer"
    SELLER = "seller"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Account:
    """A user as they and admins may see them; the password's hash is not part of it."""

    id: UserId
    email: Email
    role: Role
    display_name: str
    created_at: datetime
    locale: Locale = DEFAULT_LOCALE
    phone: Phone | None = None
    is_active: bool = True
    email_verified: bool = False

    @property
    def is_active_admin(self) -> bool:
        return self.role is Role.ADMIN and self.is_active

    def managed(self, standing: "Standing") -> "Account":
        """As an admin wants them to stand."""
        is_active = self.is_active if standing.is_active is None else standing.is_active
        return replace(self, role=standing.role or self.role, is_active=is_active)

    def loses_access_to(self, changed: "Account") -> bool:
        """Whether sessions that were opened before a change must end: they carry a role, and a right to be here."""
        return changed.role is not self.role or not changed.is_active


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account before the database gave it its id."""

    email: Email
    role: Role
    display_name: str | None = None
    locale: Locale = DEFAULT_LOCALE


@dataclass(frozen=True, slots=True)
class Profile:
    """What people say of themselves, as far as it changes: a field that is not in `changed` stays as it is."""

    changed: frozenset[str] = frozenset()
    """Of display_name, locale, phone."""
    display_name: str | None = None
    """None: shown by number."""
    locale: Locale = DEFAULT_LOCALE
    phone: Phone | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What admins decide about an account; None leaves a part as it is."""

    role: Role | None = None
    is_active: bool | None = None

    @property
    def is_unchanged(self) -> bool:
        return self.role is None and self.is_active is None


@dataclass(frozen=True, slots=True)
class Search:
    """Which accounts an admin looks for: all that agree with every part that is given."""

    text: str | None = None
    """Part of the address or the name, in any case."""
    role: Role | None = None
    is_active: bool | None = None


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
    """A name as it is shown: without spaces around it, one line. Raises ValueError.

    Its length is looked at first: to put many combining marks in order takes a time that grows with the square of their number.
    """
    name = unicodedata.normalize("NFC", text).strip() if len(text) <= _SPACED_NAME_MAX else ""
    if not 1 <= len(name) <= NAME_MAX:
        raise ValueError(f"a name has 1 to {NAME_MAX} characters")
    if any(unicodedata.category(character) in _UNWRITABLE for character in text):
        raise ValueError("a name has no control characters")
    return name


def normal_locale(text: str) -> Locale:
    """In the case that RFC 5646, 2.1.1 recommends. Raises ValueError."""
    if not re.fullmatch(LOCALE_PATTERN, text, re.ASCII):
        raise ValueError("write a language tag, like en, de-AT or zh-Hant-TW")
    language, *rest = text.split("-")
    return Locale("-".join([language.lower(), *(_SUBTAG_CASE[len(part)](part) for part in rest)]))


def normal_phone(text: str) -> Phone:
    """Raises ValueError."""
    if not re.fullmatch(PHONE_PATTERN, text, re.ASCII):
        raise ValueError("write a telephone number with its country's code and digits alone, like +4915112345678")
    return Phone(text)


_SUBTAG_CASE = {2: str.upper, 3: str.upper, 4: str.title}
"""By length: a region, a region of digits, a script."""
_UNWRITABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of Unicode: controls, halves of surrogate pairs (which UTF-8 cannot carry), line and paragraph ends."""


def name_of(user_id: UserId, display_name: str | None) -> str:
    """What others see of somebody who gave no name: nothing that identifies a person."""
    return display_name or f"User {user_id}"


def address_of_erased(user_id: UserId) -> str:
    """What stands in the place of an erased account's address: unique, and nothing that anybody can register."""
    return f"erased:{user_id}"
