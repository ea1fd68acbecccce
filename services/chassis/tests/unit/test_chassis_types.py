"""Money, identifiers and addresses."""

import pytest
from chassis.types import money
from chassis.types.addresses import network_key
from chassis.types.ids import uuid7
from chassis.types.money import CurrencyMismatch, Money
from hypothesis import given
from hypothesis import strategies as st

amounts = st.integers(0, 10**12)


@given(st.lists(amounts, min_size=1, max_size=20))
def test_a_total_is_the_exact_sum(parts: list[int]) -> None:
    assert money.total(Money(part, "USD") for part in parts) == Money(sum(parts), "USD")


@given(amounts, st.integers(1, 1000))
def test_a_multiple_is_exact(amount: int, quantity: int) -> None:
    assert Money(amount, "JPY") * quantity == Money(amount * quantity, "JPY")


def test_amounts_of_two_currencies_cannot_be_added() -> None:
    with pytest.raises(CurrencyMismatch, match="cannot add EUR to USD"):
        Money(1, "USD") + Money(1, "EUR")


@pytest.mark.parametrize(("amount", "currency"), [(-1, "USD"), (2**53, "USD"), (1, "usd"), (1, "USDT"), (1, "")])
def test_invalid_money_cannot_be_constructed(amount: int, currency: str) -> None:
    with pytest.raises(ValueError, match=r"currency|amount"):
        Money(amount, currency)


def test_uuid7_is_version_7_and_ordered_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1_000_000_000, 2_000_000_000])
    monkeypatch.setattr("chassis.types.ids.time.time_ns", lambda: next(clock))
    first, second = uuid7(), uuid7()

    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert first < second


def test_an_ipv4_mapped_address_has_the_key_of_the_ipv4_address() -> None:
    assert network_key("::ffff:203.0.113.7") == network_key("203.0.113.7") == "203.0.113.7"


def test_the_ipv6_addresses_of_a_subscriber_share_a_key() -> None:
    assert network_key("2001:db8:1:2:aaaa::1") == network_key("2001:db8:1:2:bbbb::2") == "2001:db8:1:2::/64"
    assert network_key("2001:db8:1:3::1") != network_key("2001:db8:1:2::1")


def test_malformed_addresses_share_a_key() -> None:
    assert network_key("") == network_key("testclient") == "unknown"
