from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import UserId
from user_service.domain.errors import InvalidRefreshToken
from user_service.domain.sessions import (
    RefreshToken,
    RefreshTokenState,
    Session,
    new_refresh_token,
    parse_refresh_token,
    printable_user_agent,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = b"key"
TOKEN = new_refresh_token(UUID(int=1), b"s" * 16, KEY)
SESSION = Session(TOKEN.session_id, UserId(1), TOKEN.digest, NOW + timedelta(days=1), NOW, NOW)


def test_a_token_is_parsed_from_its_text() -> None:
    assert parse_refresh_token(TOKEN.text()) == TOKEN


@pytest.mark.parametrize("text", ["", "x", "é", TOKEN.text()[:-4], TOKEN.text() + "AAAA", "!" * 64, "\x00" * 64])
def test_a_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidRefreshToken):
        parse_refresh_token(text)


def test_the_newest_token_of_a_session_is_valid() -> None:
    assert SESSION.state_of(TOKEN, NOW, KEY) is RefreshTokenState.VALID


def test_an_older_token_of_a_session_is_reused_even_after_the_session_expired() -> None:
    older = new_refresh_token(SESSION.id, b"o" * 16, KEY)
    assert SESSION.state_of(older, NOW, KEY) is RefreshTokenState.REUSED
    assert SESSION.state_of(older, NOW + timedelta(days=2), KEY) is RefreshTokenState.REUSED


def test_a_token_that_was_never_issued_is_forged() -> None:
    other_session = new_refresh_token(UUID(int=2), b"o" * 16, KEY)
    for forged in (
        RefreshToken(SESSION.id, b"o" * 32),
        RefreshToken(SESSION.id, other_session.secret),
        new_refresh_token(SESSION.id, b"o" * 16, b"another key"),
    ):
        assert SESSION.state_of(forged, NOW, KEY) is RefreshTokenState.FORGED


def test_a_token_of_a_release_without_codes_is_valid_until_it_is_refreshed() -> None:
    old = RefreshToken(SESSION.id, b"o" * 32)
    session = Session(old.session_id, UserId(1), old.digest, NOW + timedelta(days=1), NOW, NOW)
    assert session.state_of(old, NOW, KEY) is RefreshTokenState.VALID


def test_a_token_expires_with_its_session() -> None:
    assert SESSION.state_of(TOKEN, NOW + timedelta(days=1), KEY) is RefreshTokenState.EXPIRED


def test_the_secret_is_neither_in_the_repr_nor_stored() -> None:
    assert "sss" not in repr(TOKEN)
    assert SESSION.digest.find(TOKEN.secret) == -1


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"),
        ("a\x00b\tc\u00e9\ud800", "abc"),
        ("x" * 5000, "x" * 200),
    ],
)
def test_only_the_printable_part_of_a_user_agent_is_kept(header: str | None, kept: str | None) -> None:
    assert printable_user_agent(header) == kept
