"""Mails as bytes: what a mail reader gets is what was rendered, and no value changes the headers."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from uuid import UUID

import pytest
from notification_service.clients.mime import Mail, MailWriter

MAIL_ID = UUID("0191e0a0-0000-7000-8000-000000000001")
WRITER = MailWriter(Address("Shop, Ltd. <x>", addr_spec="noreply@shop.example"))


def written_mail(
    subject: str = "Hello",
    recipient: str = "anna@example.com",
    text: str = "text\n",
    html: str = "<p>html</p>\n",
    locale: str = "en",
) -> bytes:
    at = datetime(2026, 11, 22, 16, 5, tzinfo=UTC)
    return WRITER.write(Mail(MAIL_ID, "welcome", recipient, subject, text, html, locale, at))


def unix_lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def parsed(mail: bytes) -> EmailMessage:
    message = message_from_bytes(mail, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_no_header_can_be_injected(line_end: str) -> None:
    injected = f"x{line_end}Bcc: all@example.com"
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        written_mail(subject=injected)
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        written_mail(locale=injected)
    with pytest.raises((ValueError, IndexError)):
        written_mail(recipient=f"anna@example.com{line_end}Bcc: all@example.com")


def test_a_mail_is_seven_bit_and_complete() -> None:
    mail = written_mail(subject="Grüße für Sie", text="für Sie\n")

    message = parsed(mail)
    assert message["Subject"] == "Grüße für Sie"
    assert message["From"] == '"Shop, Ltd. <x>" <noreply@shop.example>'
    assert message["To"] == "anna@example.com"
    assert message["Date"] == "Sun, 22 Nov 2026 16:05:00 +0000"
    assert message["Message-ID"] == f"<{MAIL_ID}@shop.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "en"
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert mail.isascii()
    assert not message.defects


@pytest.mark.parametrize(
    "subject",
    ["Your order is placed", "", "a " * 60, "Grüße " * 20, "=?utf-8?q?=41?= is no encoded word", "tab\tin it"],
    ids=["plain", "empty", "long", "long and not ASCII", "like an encoded word", "tab"],
)
def test_a_subject_is_written_as_the_email_package_writes_it(subject: str) -> None:
    reference = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    reference["Subject"] = subject

    assert parsed(written_mail(subject=subject))["Subject"] == parsed(reference.as_bytes())["Subject"]


@pytest.mark.parametrize(
    "recipient", ["anna.b+shop@mail.example.com", "o'brien@example.com", f"{'a' * 64}@example.com"]
)
def test_a_recipient_is_the_only_one(recipient: str) -> None:
    assert [address.addr_spec for address in parsed(written_mail(recipient=recipient))["To"].addresses] == [recipient]


@pytest.mark.parametrize("recipient", ["anna", "anna@", "@example.com", "a..b@example.com", "a b@example.com", ""])
def test_a_malformed_recipient_is_refused(recipient: str) -> None:
    with pytest.raises((ValueError, IndexError, MessageError)):
        written_mail(recipient=recipient)


def test_an_address_that_is_not_ascii_is_written_as_it_is() -> None:
    mail = written_mail(recipient="anna@exämple.com")

    assert "To: anna@exämple.com\r\n".encode() in mail


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain\n\n.\n..dots\nFrom here\n--dashes\n", "7bit"),
        ("x" * 79 + " \n", "quoted-printable"),
        ("Eine längere Zeile = mehr ASCII als alles andere \n" * 20, "quoted-printable"),
        ("注文を受け付けました。\n" * 20, "base64"),
    ],
)
def test_a_text_arrives_as_it_was_rendered(text: str, encoding: str) -> None:
    mail = written_mail(text=text, html=text)

    for part in list(parsed(mail).walk())[1:]:
        assert part["Content-Transfer-Encoding"] == encoding
        assert unix_lines(part.get_content()) == text
    assert mail.isascii()
    assert max(map(len, mail.split(b"\r\n"))) <= 78
    assert b"\n" not in mail.replace(b"\r\n", b"")
    assert b"\r" not in mail.replace(b"\r\n", b"")


def test_a_text_without_a_last_line_end_gets_one() -> None:
    message = parsed(written_mail(text="a\rb", html=""))

    assert [unix_lines(part.get_content()) for part in list(message.walk())[1:]] == ["a\nb\n", ""]
