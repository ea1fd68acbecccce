from datetime import UTC, datetime

import pytest
from chassis.types.ids import UserId
from user_service.domain.accounts import (
    AccessUpdate,
    Account,
    Email,
    Role,
    erased_email,
    normalize_email,
    normalize_locale,
    normalize_name,
    normalize_new_password,
    normalize_password,
    normalize_phone,
    public_name,
)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("ada@example.com", "ada@example.com"),
        ("  Ada.Lovelace+shop@Example.COM\n", "ada.lovelace+shop@example.com"),
        ("o'brien@sub.example.co.uk", "o'brien@sub.example.co.uk"),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
    ],
)
def test_spellings_of_one_mailbox_are_normalized_to_one_form(written: str, normal: str) -> None:
    assert normalize_email(written) == normal


@pytest.mark.parametrize(
    "written",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "ada@@example.com",
        "ada@exa mple.com",
        ".ada@example.com",
        "ada..l@example.com",
        "ada@-example.com",
        "ada@example.com\x00",
        "ada@127.0.0.1",
        "ada@bücher.example",
        "ada\r\nBcc: x@example.com",
        f"{'a' * 65}@example.com",
        f"ada@{'a.' * 130}com",
    ],
)
def test_an_address_that_no_mail_server_accepts_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="write an e-mail address"):
        normalize_email(written)


@pytest.mark.parametrize("password", ["a" * 8, "a" * 128, "пароль-пароль", "🔑" * 8, "        "])
def test_any_eight_characters_are_a_valid_password(password: str) -> None:
    assert normalize_new_password(password) == normalize_password(password)


@pytest.mark.parametrize("password", ["", "a" * 7, "a" * 129, "🔑" * 7, "with\x00nul..", "surrogate \ud800"])
def test_passwords_of_another_length_or_with_control_characters_are_refused(password: str) -> None:
    with pytest.raises(ValueError, match=r"8 to 128 characters|no control characters"):
        normalize_new_password(password)


def test_a_password_is_the_same_however_the_keyboard_encodes_it() -> None:
    assert normalize_new_password("cafe\u0301-crème") == normalize_password("caf\u00e9-crème")


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "two\nlines", "\x00", "bell\x07", "a\u2028b"])
def test_a_name_that_is_empty_too_long_or_not_one_line_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        normalize_name(name)


def test_a_text_too_long_for_a_name_is_refused_before_it_is_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalize(_form: str, text: str) -> str:
        raise AssertionError(f"{len(text)} characters were normalized")

    with monkeypatch.context() as patched:
        patched.setattr("unicodedata.normalize", normalize)
        with pytest.raises(ValueError, match="a name has"):
            normalize_name("a" + "\u0300" * 500_000 + "\u0316" * 500_000)


def test_spaces_around_a_name_are_removed() -> None:
    assert normalize_name("  Ada Lovelace ") == "Ada Lovelace"


def test_a_user_without_a_name_is_shown_by_their_id() -> None:
    assert public_name(UserId(7), None) == "User 7"
    assert public_name(UserId(7), "Ada") == "Ada"


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("de-at", "de-AT"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("gsw-CH", "gsw-CH"),
        ("sr-LATN", "sr-Latn"),
    ],
)
def test_language_tags_are_normalized_to_one_case(written: str, normal: str) -> None:
    assert normalize_locale(written) == normal


@pytest.mark.parametrize(
    "written", ["", "e", "engl", "en_US", "en-", "-US", "en-USA", "en-US-x", "en\n", " en", "ен", "e1"]
)
def test_an_invalid_language_tag_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="write a language tag"):
        normalize_locale(written)


@pytest.mark.parametrize("written", ["+4915112345678", "+12125550123", "+1234567", "+" + "9" * 15])
def test_international_phone_numbers_are_accepted(written: str) -> None:
    assert normalize_phone(written) == written


@pytest.mark.parametrize(
    "written", ["", "+", "015112345678", "+0151123456", "+123456", "+" + "9" * 16, "+49 151", "+49151\n", "+٤٩١٥١١٢٣٤٥"]
)
def test_an_invalid_phone_number_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="write a telephone number"):
        normalize_phone(written)


NOW = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER = Account(UserId(7), Email("ada@example.com"), Role.CUSTOMER, "Ada", NOW)


@pytest.mark.parametrize(
    ("update", "role", "is_active", "must_log_in_again"),
    [
        (AccessUpdate(), Role.CUSTOMER, True, False),
        (AccessUpdate(Role.CUSTOMER, True), Role.CUSTOMER, True, False),
        (AccessUpdate(Role.ADMIN), Role.ADMIN, True, True),
        (AccessUpdate(is_active=False), Role.CUSTOMER, False, True),
        (AccessUpdate(Role.SELLER, False), Role.SELLER, False, True),
    ],
)
def test_a_user_must_log_in_again_after_a_change_of_role_or_a_deactivation(
    update: AccessUpdate, role: Role, is_active: bool, must_log_in_again: bool
) -> None:
    changed = CUSTOMER.with_access(update)
    assert (changed.role, changed.is_active, CUSTOMER.must_log_in_again(changed)) == (
        role,
        is_active,
        must_log_in_again,
    )


def test_the_placeholder_for_an_erased_address_is_not_a_valid_address() -> None:
    with pytest.raises(ValueError, match="write an e-mail address"):
        normalize_email(erased_email(UserId(7)))
