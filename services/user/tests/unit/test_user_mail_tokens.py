from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import UserId
from user_service.domain.accounts import Email
from user_service.domain.errors import InvalidMailToken, TooManyMails
from user_service.domain.mail_tokens import MailRequest, MailToken, Purpose, derive_mail_token, parse_mail_token

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADA, NEW = Email("ada@example.com"), Email("new@example.com")
RESET = MailRequest(UUID(int=1), UserId(7), Purpose.RESET_PASSWORD, ADA, NOW, NOW + timedelta(hours=1))
VERIFY = replace(RESET, purpose=Purpose.VERIFY_EMAIL)
HASH, KEY = "$argon2id$v=19$…", b"k" * 32


def token(request: MailRequest = RESET, email: Email = ADA, password_hash: str = HASH, key: bytes = KEY) -> MailToken:
    return derive_mail_token(request, email, password_hash, key)


def test_deriving_a_token_again_gives_the_same_token() -> None:
    assert token() == token()
    assert parse_mail_token(token().text()) == token()
    assert parse_mail_token(token().text()).matches(token())


@pytest.mark.parametrize(
    "other",
    [
        token(replace(RESET, id=UUID(int=2))),
        token(replace(RESET, user_id=UserId(8))),
        token(VERIFY),
        token(replace(RESET, email=NEW)),
        token(email=NEW),
        token(password_hash="another"),
        token(key=b"another"),
    ],
)
def test_a_token_is_bound_to_everything_that_it_may_change(other: MailToken) -> None:
    assert not other.matches(token())
    assert not MailToken(RESET.id, other.code).matches(token())


def test_a_verification_token_stays_valid_after_a_change_of_the_password() -> None:
    assert token(VERIFY, password_hash="another").matches(token(VERIFY))


@pytest.mark.parametrize(
    "text", ["", "x", "é", token().text()[:-4], token().text() + "AAAA", "!" * 64, "\x00" * 64, token().text() + "\n"]
)
def test_a_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidMailToken):
        parse_mail_token(text)


def test_a_request_is_valid_until_it_is_used_replaced_or_expired() -> None:
    assert RESET.is_valid(NOW)
    assert not RESET.is_valid(NOW + timedelta(hours=1))
    assert not replace(RESET, used_at=NOW).is_valid(NOW)
    assert not replace(RESET, replaced_at=NOW).is_valid(NOW)


def test_a_token_is_not_part_of_its_repr() -> None:
    assert token().code.hex() not in repr(token())
    assert repr(token().code) not in repr(token())


@pytest.mark.parametrize(
    ("wait", "seconds"), [(timedelta(0), 1), (timedelta(seconds=0.1), 1), (timedelta(minutes=1.01), 61)]
)
def test_retry_after_is_rounded_up_to_whole_seconds(wait: timedelta, seconds: int) -> None:
    assert TooManyMails(wait).retry_after == seconds
