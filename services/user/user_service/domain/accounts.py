"""Accounts: users, their roles, and the rules for e-mail addresses, passwords and names."""

import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NewType

from chassis.types.ids import UserId

Email = NewType("Email", str)
"""An e-mail address in its normal form, so that two spellings of one mailbox are equal."""

_LOCAL = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{3,254}}$)(?=.{{1,64}}@){_LOCAL}@(?:{_LABEL}\.)+(?!\d+$){_LABEL}")
EMAIL_PATTERN = rf"^\s*(?=[^@]{{1,64}}@)(?=\S{{3,254}}\s*$){_LOCAL}@(?:{_LABEL}\.)+(?!\d+\s*$){_LABEL}\s*$".replace(
    "a-z", "A-Za-z"
)
"""The same rule for addresses before they are normalized: spaces around the address and any case are allowed."""

Locale = NewType("Locale", str)
"""A language tag (BCP 47) in its usual case: `en`, `de-AT`, `zh-Hant-TW`."""
Phone = NewType("Phone", str)
"""A telephone number in the form of E.164: `+4915112345678`."""

DEFAULT_LOCALE = Locale("en")
LOCALE_PATTERN = "^[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?$"
"""Language, script and region of BCP 47 (RFC 5646). Variants and extensions are not supported."""
PHONE_PATTERN = "^\\+[1-9][0-9]{6,14}$"
"""At most 15 digits (ITU-T E.164, 6)."""

_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
PASSWORD_PATTERN = f"^[^{_CONTROLS}]*$"
NAME_PATTERN = rf"^[^{_CONTROLS}]*[^\s{_CONTROLS}][^{_CONTROLS}]*$"
NAME_MAX = 100
_UNTRIMMED_NAME_MAX = 1000
"""The maximum length before surrounding spaces are removed, so that normalizing a name never blocks the process."""
PASSWORD_MIN, PASSWORD_MAX = 8, 128
"""The length in Unicode characters (NIST SP 800-63B, 5.1.1.2). No rule demands certain kinds of characters."""

DELETED_NAME = "Deleted user"


class Role(StrEnum):
    CUSTOMER = "customer"
    SELLER = "seller"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Account:
    """A user as they and admins see them. The password's hash is not part of it."""

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

    def with_access(self, update: "AccessUpdate") -> "Account":
        """Returns the account after an admin's change of its access."""
        is_active = self.is_active if update.is_active is None else update.is_active
        return replace(self, role=update.role or self.role, is_active=is_active)

    def must_log_in_again(self, changed: "Account") -> bool:
        """Returns whether a change to `changed` ends the open sessions.

        A session carries the role, and needs an active account.
        """
        return changed.role is not self.role or not changed.is_active


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account which has no id from the database yet."""

    email: Email
    role: Role
    display_name: str | None = None
    locale: Locale = DEFAULT_LOCALE


@dataclass(frozen=True, slots=True)
class ProfileUpdate:
    """A user's change of their profile. Only the fields named in `changed` are written."""

    changed: frozenset[str] = frozenset()
    """A subset of display_name, locale, phone."""
    display_name: str | None = None
    """None: the public name is made from the id."""
    locale: Locale = DEFAULT_LOCALE
    phone: Phone | None = None


@dataclass(frozen=True, slots=True)
class AccessUpdate:
    """An admin's change of an account's role or activity. None leaves a field as it is."""

    role: Role | None = None
    is_active: bool | None = None

    @property
    def is_empty(self) -> bool:
        return self.role is None and self.is_active is None


@dataclass(frozen=True, slots=True)
class AccountSearch:
    """An admin's search for accounts: those which match every field that is given."""

    text: str | None = None
    """Part of the e-mail address or the name, in any case."""
    role: Role | None = None
    is_active: bool | None = None


class AccountPosition(NamedTuple):
    """The position of an account in the order of registration."""

    id: int

    @classmethod
    def of(cls, account: Account) -> "AccountPosition":
        return cls(account.id)


def normalize_email(text: str) -> Email:
    """Returns the normal form of an address.

    Raises ValueError for one that mail servers would not accept (RFC 5321, without quoted local parts and without the
    characters of RFC 6531).
    """
    address = text.strip().lower()
    if not _ADDRESS.fullmatch(address):
        raise ValueError("write an e-mail address, like ada@example.com")
    return Email(address)


def normalize_new_password(text: str) -> str:
    """Checks a new password and returns it in the form that is hashed. Raises ValueError."""
    if not PASSWORD_MIN <= len(text) <= PASSWORD_MAX:
        raise ValueError(f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in text):
        raise ValueError("a password has no control characters")
    return normalize_password(text)


def normalize_password(text: str) -> str:
    """Returns one form for characters which keyboards encode differently: NFKC, as NIST SP 800-63B (5.1.1.2) asks."""
    return unicodedata.normalize("NFKC", text)


def normalize_name(text: str) -> str:
    """Returns a name as it is displayed: one line, without surrounding spaces. Raises ValueError.

    The length is checked first: ordering many combining marks takes time that grows with the square of their number.
    """
    name = unicodedata.normalize("NFC", text).strip() if len(text) <= _UNTRIMMED_NAME_MAX else ""
    if not 1 <= len(name) <= NAME_MAX:
        raise ValueError(f"a name has 1 to {NAME_MAX} characters")
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in text):
        raise ValueError("a name has no control characters")
    return name


def normalize_locale(text: str) -> Locale:
    """Returns a language tag in the case that RFC 5646, 2.1.1 recommends. Raises ValueError."""
    if not re.fullmatch(LOCALE_PATTERN, text, re.ASCII):
        raise ValueError("write a language tag, like en, de-AT or zh-Hant-TW")
    language, *rest = text.split("-")
    return Locale("-".join([language.lower(), *(_SUBTAG_CASE[len(part)](part) for part in rest)]))


def normalize_phone(text: str) -> Phone:
    """Returns a telephone number of the form E.164. Raises ValueError."""
    if not re.fullmatch(PHONE_PATTERN, text, re.ASCII):
        raise ValueError("write a telephone number with its country's code and digits alone, like +4915112345678")
    return Phone(text)


_SUBTAG_CASE = {2: str.upper, 3: str.upper, 4: str.title}
"""The case by length: a region, a region of digits, a script."""
_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, halves of surrogate pairs (which UTF-8 cannot encode), line and paragraph separators.
"""


def public_name(user_id: UserId, display_name: str | None) -> str:
    """Returns the name that other users see. Without a display name it identifies no person."""
    return display_name or f"User {user_id}"


def erased_email(user_id: UserId) -> str:
    """Returns the placeholder for an erased account's address: unique, and no address that can be registered."""
    return f"erased:{user_id}"
