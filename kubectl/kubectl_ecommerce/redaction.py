"""Removes secrets and personal data from texts. Pure.

Two ways together: the values of Secrets are known and removed wherever they stand, and what has the form of a secret is
removed without being known.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from kubectl_ecommerce.kubectl import Manifest
from kubectl_ecommerce.secret_forms import REDACTED, is_public_value, is_secret_flag, is_secret_name, without_secrets

MIN_LENGTH = 6
"""Characters of a value that is removed wherever it stands. Shorter ones are words of other texts."""
MIN_PART = 16
"""Characters of a part of a value, such as one of several tokens, that is removed too."""

_PUBLIC_KEYS = re.compile(r".*_(HOST|PORT|NAME|USER|CA)|.*\.crt", re.IGNORECASE)
"""Keys of Secrets whose values are no secrets: names of hosts, databases and roles, and certificates."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MAIL_ADDRESS = re.compile(r"[\w.%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_DIGITS = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w.-])")


class Redactor:
    """Redacts texts and objects. A value that contains another one is removed first."""

    def __init__(self, secrets: Iterable[Manifest]) -> None:
        values = {value for secret in secrets for value in secret_values(secret)}
        self._values = sorted(values, key=lambda value: (-len(value), value))

    def text(self, text: str) -> str:
        """Returns a text without secrets, mail addresses and numbers of cards."""
        for value in self._values:
            text = text.replace(value, REDACTED)
        text = _MAIL_ADDRESS.sub("[mail address]", without_secrets(text))
        return _DIGITS.sub(lambda found: "[card number]" if _is_card(found[0]) else found[0], text)

    def manifest(self, manifest: Manifest) -> Manifest:
        """Returns an object with redacted texts, without the values of settings that are named like secrets, and
        without the copies of itself that writers keep in it."""
        metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
        if "annotations" in metadata:
            metadata["annotations"] = {
                name: value for name, value in metadata["annotations"].items() if name != _LAST_APPLIED
            }
        redacted: Manifest = self._value(manifest | {"metadata": metadata})
        return redacted

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [*self._items(value)]
        if not isinstance(value, dict):
            return value
        is_variable = is_secret_name(str(value.get("name", "")))
        return {
            self.text(name): self._setting(inner)
            if is_secret_name(name) or (is_variable and name == "value")
            else self._value(inner)
            for name, inner in value.items()
        }

    def _items(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yields the items of a list, which may be the words of a command line."""
        before = ""
        for one in items:
            is_value = is_secret_flag(before) and not str(one).startswith("-")
            yield self._setting(one) if is_value else self._value(one)
            before = str(one)

    def _setting(self, value: Any) -> Any:
        """Returns the value of a setting that is named like a secret."""
        if isinstance(value, list):
            return [self._setting(one) for one in value]
        if isinstance(value, dict | bool | None):
            return self._value(value)
        return value if is_public_value(str(value)) else REDACTED


def secret_values(secret: Manifest) -> Iterator[str]:
    """Yields the texts to remove because of a Secret: its values, how they are encoded, and the secrets inside them."""
    for key, encoded in (secret.get("data") or {}).items():
        if _PUBLIC_KEYS.fullmatch(key):
            continue
        try:
            value = base64.b64decode(encoded).decode()
        except (binascii.Error, UnicodeDecodeError):
            value = encoded
        for one in (value.strip(), *_inside(value.strip())):
            if len(one) >= MIN_LENGTH:
                yield one
                yield json.dumps(one)[1:-1]
                yield base64.b64encode(one.encode()).decode()
        if len(encoded) >= MIN_LENGTH:
            yield encoded


def _inside(value: str) -> Iterator[str]:
    """Yields the password of a URL, the texts of a JSON document, and the parts of any other value."""
    if re.match(r"[a-zA-Z][\w+.-]*://", value):
        password = urlsplit(value).password or ""
        yield from (password, unquote(password))
        return
    try:
        yield from _leaves(json.loads(value))
    except ValueError:
        yield from (part for part in re.split(r"[\s,;:=]+", value) if len(part) >= MIN_PART)


def _leaves(document: object) -> Iterator[str]:
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        for one in document:
            yield from _leaves(one)
    elif isinstance(document, str):
        yield document


def _is_card(text: str) -> bool:
    """Returns whether digits have the checksum of a card number (ISO/IEC 7812, Luhn)."""
    digits = [int(one) for one in text if one.isdigit()][::-1]
    doubled = (sum(divmod(2 * one, 10)) for one in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
