from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from chassis.types.ids import UserId
from user_service.domain.errors import InvalidRefreshToken
from user_service.domain.sessions import RefreshToken, Session, Verdict, parse_refresh_token, readable_user_agent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = RefreshToken(UUID(int=1), b"s" * 32)
SESSION = Session(TOKEN.session_id, UserId(1), TOKEN.digest, NOW + timedelta(days=1), NOW, NOW)


def test_a_token_survives_being_written_and_read() -> None:
    assert parse_refresh_token(TOKEN.text()) == TOKEN


@pytest.mark.parametrize("text", ["", "x", "é", TOKEN.text()[:-4], TOKEN.text() + "AAAA", "!" * 64, "\x00" * 64])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidRefreshToken):
        parse_refresh_token(text)


def test_the_newest_token_of_a_session_is_good() -> None:
    assert SESSION.judge(TOKEN, NOW) is Verdict.GOOD


def test_an_older_token_of_a_session_is_reused_even_when_the_session_is_over() -> None:
    older = RefreshToken(SESSION.id, b"o" * 32)
    assert SESSION.judge(older, NOW) is Verdict.REUSED
    assert SESSION.judge(older, NOW + timedelta(days=2)) is Verdict.REUSED


def test_a_token_expires_with_its_session() -> None:
    assert SESSION.judge(TOKEN, NOW + timedelta(days=1)) is Verdict.EXPIRED


def test_neither_the_secret_nor_the_token_is_ever_printed_or_stored() -> None:
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
def test_of_a_user_agent_is_kept_what_people_can_read(header: str | None, kept: str | None) -> None:
    assert readable_user_agent(header) == kept
