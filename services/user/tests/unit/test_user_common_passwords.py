import pytest
from user_service.domain.accounts import PASSWORD_MIN
from user_service.domain.common_passwords import _listed, refuse_common
from user_service.domain.errors import PasswordTooCommon

OWN = ("ada.lovelace@example.com", "Ada Lovelace")


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "PassWord1",
        "iloveyou",
        "ada.lovelace",
        "ada.lovelace@example.com",
        "AdaLovelace",
        "ada lovelace 1815!",
    ],
)
def test_a_listed_password_and_the_words_of_the_account_are_refused(password: str) -> None:
    with pytest.raises(PasswordTooCommon):
        refuse_common(password, *OWN)


@pytest.mark.parametrize("password", ["correct horse battery staple", "lovelace and babbage", "9#kQ!xv2pL"])
def test_any_other_password_is_accepted(password: str) -> None:
    refuse_common(password, *OWN)


def test_an_account_without_a_name_refuses_no_password_for_it() -> None:
    refuse_common("12 34 56 78 !", "1234@example.com", None)


def test_the_list_has_ten_thousand_passwords_that_are_long_enough_to_be_chosen() -> None:
    assert len(_listed()) == 10_000
    assert all(len(password) >= PASSWORD_MIN for password in _listed())
