"""Writes mails as RFC 5322 and MIME have them (RFC 2045 to 2049), in 7 bits.

`EmailMessage` parses each header and scans each text several times while it is built and written, which takes forty
times as long. Headers that are more than plain ASCII still come from the email package, which encodes and folds them.
"""

import base64
import binascii
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime
from typing import Any
from uuid import UUID

_ASCII_POLICY = SMTP.clone(cte_type="7bit")
_UTF8_POLICY = _ASCII_POLICY.clone(utf8=True)
_MAX_LINE = 78
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
"""Addresses that are written as they are: a part of those that are dot-atoms (RFC 5322, section 3.4.1)."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A rendered mail. Its `repr` shows nothing that must not be logged."""

    id: UUID
    template: str
    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    locale: str
    at: datetime


class MailWriter:
    """Writes the mails of one sender."""

    def __init__(self, sender: Address) -> None:
        self._domain = sender.domain
        self._from = {policy: _header(policy, "From", sender) for policy in (_ASCII_POLICY, _UTF8_POLICY)}

    def write(self, mail: Mail) -> bytes:
        """Returns the whole message, with CRLF line ends. It is ASCII unless the recipient's address is not.

        Raises ValueError, IndexError or MessageError for an address that is malformed, and ValueError for a line end in
        a header, which would inject another one.
        """
        policy = _ASCII_POLICY if mail.recipient.isascii() else _UTF8_POLICY
        boundary = f"=_{secrets.token_hex(16)}"
        headers = (
            self._from[policy],
            _to(policy, mail.recipient),
            _text_header(policy, "Subject", mail.subject),
            _text_header(policy, "Content-Language", mail.locale),
            f"Date: {format_datetime(mail.at)}\r\n"
            f"Message-ID: <{mail.id}@{self._domain}>\r\n"
            "Auto-Submitted: auto-generated\r\n"  # RFC 3834: suppresses out-of-office replies
            "MIME-Version: 1.0\r\n"
            f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n',
        )
        separator = f"\r\n--{boundary}".encode()
        parts = (_part("plain", mail.text), _part("html", mail.html))
        return "".join(headers).encode() + separator + separator.join(parts) + separator + b"--\r\n"


def _to(policy: "EmailPolicy[Any]", recipient: str) -> str:
    header = f"To: {recipient}\r\n"
    if _PLAIN_ADDRESS.fullmatch(recipient) and len(header) <= _MAX_LINE:
        return header
    return _header(policy, "To", Address(addr_spec=recipient))


def _text_header(policy: "EmailPolicy[Any]", name: str, text: str) -> str:
    """Returns a header of any text. Raises ValueError for a line end."""
    header = f"{name}: {text}\r\n"
    is_plain = text.isascii() and text.isprintable() and "=?" not in text  # which begins an encoded word
    return header if is_plain and len(header) <= _MAX_LINE else _header(policy, name, text)


def _header(policy: "EmailPolicy[Any]", name: str, value: str | Address) -> str:
    """Returns a header, encoded and folded. Raises ValueError for a line end."""
    _, header = policy.header_store_parse(name, value)
    folded: str = policy.fold(name, header)
    return folded


def _part(subtype: str, text: str) -> bytes:
    """Returns a part that follows its boundary, in the encoding that keeps the most of it readable and short."""
    lines = text.encode().splitlines()
    content = b"".join(line + b"\n" for line in lines)
    encoding, encoded = "7bit", content
    if not content.isascii() or max(map(len, lines), default=0) > _MAX_LINE:
        encoding, encoded = "quoted-printable", binascii.b2a_qp(content, istext=True)
        if len(encoded) > len(content) * 4 // 3:
            encoding, encoded = "base64", base64.encodebytes(content)
    head = (
        f'\r\nContent-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    ).encode()
    return head + encoded.replace(b"\n", b"\r\n")
