from datetime import UTC, datetime

import pytest
from chassis.types.ids import UserId
from user_service.domain.accounts import (
    Account,
    Email,
    Role,
    Standing,
    address_of_erased,
    name_of,
    normal_email,
    normal_locale,
    normal_name,
    normal_password,
    normal_phone,
    typed_password,
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
def test_spellings_of_one_mailbox_have_one_form(written: str, normal: str) -> None:
    assert normal_email(written) == normal


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
def test_what_no_mail_server_takes_is_no_address(written: str) -> None:
    with pytest.raises(ValueError, match="write an e-mail address"):
        normal_email(written)


@pytest.mark.parametrize("password", ["a" * 8, "a" * 128, "пароль-пароль", "🔑" * 8, "        "])
def test_any_eight_characters_make_a_password(password: str) -> None:
    assert normal_password(password) == typed_password(password)


@pytest.mark.parametrize("password", ["", "a" * 7, "a" * 129, "🔑" * 7, "with\x00nul..", "surrogate \ud800"])
def test_other_passwords_are_refused(password: str) -> None:
    with pytest.raises(ValueError, match=r"8 to 128 characters|no control characters"):
        normal_password(password)


def test_a_password_is_the_same_from_every_keyboard() -> None:
    assert normal_password("cafe\u0301-crème") == typed_password("caf\u00e9-crème")


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "two\nlines", "\x00", "bell\x07", "a\u2028b"])
def test_a_name_is_one_line_that_can_be_shown(name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        normal_name(name)


def test_what_is_too_long_to_be_a_name_is_not_even_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalize(_form: str, text: str) -> str:
        raise AssertionError(f"{len(text)} characters were put in order")

    with monkeypatch.context() as patched:
        patched.setattr("unicodedata.normalize", normalize)
        with pytest.raises(ValueError, match="a name has"):
            normal_name("a" + "\u0300" * 500_000 + "\u0316" * 500_000)


def test_a_name_loses_the_spaces_around_it() -> None:
    assert normal_name("  Ada Lovelace ") == "Ada Lovelace"


def test_who_gives_no_name_is_shown_by_number() -> None:
    assert name_of(UserId(7), None) == "User 7"
    assert name_of(UserId(7), "Ada") == "Ada"


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
def test_language_tags_have_one_case(written: str, normal: str) -> None:
    assert normal_locale(written) == normal


@pytest.mark.parametrize(
    "written", ["", "e", "engl", "en_US", "en-", "-US", "en-USA", "en-US-x", "en\n", " en", "ен", "e1"]
)
def test_what_is_no_language_tag_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="write a language tag"):
        normal_locale(written)


@pytest.mark.parametrize("written", ["+4915112345678", "+12125550123", "+1234567", "+" + "9" * 15])
def test_numbers_of_the_world_are_taken(written: str) -> None:
    assert normal_phone(written) == written


@pytest.mark.parametrize(
    "written", ["", "+", "015112345678", "+0151123456", "+123456", "+" + "9" * 16, "+49 151", "+49151\n", "+٤٩١٥١١٢٣٤٥"]
)
def test_what_is_no_number_of_the_world_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="write a telephone number"):
        normal_phone(written)


NOW = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER = Account(UserId(7), Email("ada@example.com"), Role.CUSTOMER, "Ada", NOW)


@pytest.mark.parametrize(
    ("standing", "role", "is_active", "is_out"),
    [
        (Standing(), Role.CUSTOMER, True, False),
        (Standing(Role.CUSTOMER, True), Role.CUSTOMER, True, False),
        (Standing(Role.ADMIN), Role.ADMIN, True, True),
        (Standing(is_active=False), Role.CUSTOMER, False, True),
        (Standing(Role.SELLER, False), Role.SELLER, False, True),
    ],
)
def test_whose_role_or_activity_changes_must_log_in_again(
    standing: Standing, role: Role, is_active: bool, is_out: bool
) -> None:
    managed = CUSTOMER.managed(standing)
    assert (managed.role, managed.is_active, CUSTOMER.loses_access_to(managed)) == (role, is_active, is_out)


def test_what_stands_for_an_erased_address_is_none() -> None:
    with pytest.raises(ValueError, match="write an e-mail address"):
        normal_email(address_of_erased(UserId(7)))
