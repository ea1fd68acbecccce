import pytest
from chassis.types.ids import UserId
from user_service.domain.devices import Client, Network, device_of, network_of

_ADA, _KEY = UserId(1), b"key"
_HOME = Network("198.51.100.0/24")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        (None, "unknown"),
        ("", "unknown"),
        ("198.51.100", "unknown"),
        ("198.51.100.7, 192.0.2.1", "unknown"),
    ],
)
def test_addresses_of_one_subscriber_are_one_network(address: str | None, network: str) -> None:
    assert network_of(address) == network


def test_a_new_version_of_a_program_is_the_same_device() -> None:
    old, new = (Client(_HOME, f"Mozilla/5.0 (X11) Firefox/{version}") for version in ("128.0", "131.0.2"))
    assert device_of(_ADA, old, _KEY) == device_of(_ADA, new, _KEY)


def test_another_program_another_network_and_another_account_are_other_devices() -> None:
    here = device_of(_ADA, Client(_HOME, "Firefox/1"), _KEY)
    program = device_of(_ADA, Client(_HOME, "Chrome/1"), _KEY)
    network = device_of(_ADA, Client(Network("192.0.2.0/24"), "Firefox/1"), _KEY)
    account = device_of(UserId(2), Client(_HOME, "Firefox/1"), _KEY)
    assert (program.network_digest == here.network_digest, program.program_digest == here.program_digest) == (
        True,
        False,
    )
    assert (network.network_digest == here.network_digest, network.program_digest == here.program_digest) == (
        False,
        True,
    )
    assert account.network_digest != here.network_digest
    assert device_of(_ADA, Client(_HOME, "Firefox/1"), b"another") != here
