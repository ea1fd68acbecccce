"""Each builtin store has a certificate that clients verify by the authority of the platform; it is renewed in time."""

import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from platform_operator.api.kinds import PlatformKey
from platform_operator.secrets.certificates import (
    LIFETIME,
    RENEWAL,
    authority_certificate,
    period_at,
    store_certificate,
)
from platform_operator.secrets.master_key import MasterKey

KEY = PlatformKey("shops", "shop")
MASTER_KEY, OTHER_KEY = MasterKey(b"k" * 32), MasterKey(b"o" * 32)
NOW = datetime(2026, 11, 29, 8, tzinfo=UTC)
DAY = timedelta(days=1)


def certificate(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def issued(store: str = "redis", now: datetime = NOW) -> x509.Certificate:
    return certificate(store_certificate(KEY, MASTER_KEY, store, period_at(KEY, now))["tls.crt"])


def verify(host: str, now: datetime, key: PlatformKey = KEY, master_key: MasterKey = MASTER_KEY) -> None:
    """Verifies the certificate of Redis as a client with the authority of a platform does at a time."""
    authority = certificate(authority_certificate(key, master_key))
    verifier = PolicyBuilder().store(Store([authority])).time(now).build_server_verifier(x509.DNSName(host))
    verifier.verify(issued(), [])


@pytest.mark.parametrize("host", ["shop-redis", "shop-redis.shops", "shop-redis.shops.svc.cluster.local", "localhost"])
def test_a_client_verifies_a_store_by_each_name_of_its_service(host: str) -> None:
    verify(host, NOW)


def test_a_certificate_is_refused_for_another_host_and_by_the_authority_of_another_platform_or_key() -> None:
    with pytest.raises(VerificationError):
        verify("shop-rabbitmq", NOW)
    with pytest.raises(VerificationError):
        verify("shop-redis", NOW, PlatformKey("others", "shop"))
    with pytest.raises(VerificationError):
        verify("shop-redis", NOW, master_key=MasterKey(b"o" * 32))


def test_a_certificate_is_for_servers_alone_and_signs_no_other() -> None:
    usage = issued().extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    constraints = issued().extensions.get_extension_for_class(x509.BasicConstraints)

    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert constraints.critical
    assert not constraints.value.ca


def test_a_lost_certificate_comes_back_the_same() -> None:
    first = store_certificate(KEY, MASTER_KEY, "redis", period_at(KEY, NOW))
    store_certificate.cache_clear()
    authority_certificate.cache_clear()

    assert store_certificate(KEY, MASTER_KEY, "redis", period_at(KEY, NOW)) == first


def test_no_two_stores_platforms_or_periods_share_a_key_and_the_authority_has_one_of_its_own() -> None:
    periods = [period_at(KEY, NOW), period_at(KEY, NOW + RENEWAL)]
    keys = {
        store_certificate(PlatformKey(namespace, "shop"), MASTER_KEY, store, period)["tls.key"]
        for namespace in ("a", "b")
        for store in ("redis", "order-db")
        for period in periods
    }
    public = certificate(authority_certificate(KEY, MASTER_KEY)).public_key()

    assert len(keys) == 8
    assert public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) not in {
        load_pem_private_key(pem.encode(), None)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for pem in keys
    }


@pytest.mark.parametrize("days", range(0, 400, 7))
def test_a_certificate_is_replaced_two_months_before_it_ends(days: int) -> None:
    now = NOW + timedelta(days=days)
    used = issued(now=now)

    assert used.not_valid_before_utc + DAY <= now
    assert used.not_valid_after_utc - now > LIFETIME - RENEWAL
    assert period_at(KEY, now + RENEWAL) != period_at(KEY, now)


def test_platforms_renew_their_certificates_at_different_times() -> None:
    starts = {period_at(PlatformKey("shops", f"shop-{number}"), NOW).start for number in range(50)}

    assert len(starts) == 50
    assert max(starts) - min(starts) > RENEWAL / 2


def test_the_authority_never_ends_and_is_the_same_in_every_period() -> None:
    authority = certificate(authority_certificate(KEY, MASTER_KEY))

    assert authority.not_valid_after_utc == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert store_certificate(KEY, MASTER_KEY, "redis", period_at(KEY, NOW))["ca.crt"] == authority_certificate(
        KEY, MASTER_KEY
    )


@pytest.mark.parametrize("signer", [MASTER_KEY, OTHER_KEY], ids=["former", "next"])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_openssl_verifies_a_store_by_either_of_two_authorities_with_one_name(
    tmp_path: Path, signer: MasterKey, is_reversed: bool
) -> None:
    """While the master key rotates, clients trust both authorities, which differ by their keys alone."""
    trusted = [authority_certificate(KEY, key) for key in (MASTER_KEY, OTHER_KEY)]
    client = ssl.create_default_context(cadata="".join(reversed(trusted) if is_reversed else trusted))
    shown = store_certificate(KEY, signer, "redis", period_at(KEY, datetime.now(UTC)))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text(shown[name])
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    assert handshake(client, server) == "shop-redis"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(ssl.create_default_context(cadata=authority_certificate(KEY, MasterKey(b"x" * 32))), server)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> str:
    """Connects a client to Redis over memory, and returns the name in the certificate that it has verified."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    shows = server.wrap_bio(to_server, to_client, server_side=True)
    verifies = client.wrap_bio(to_client, to_server, server_hostname="shop-redis")
    for side in (verifies, shows, verifies, shows):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    shown = verifies.getpeercert(binary_form=True)
    assert shown is not None
    name = x509.load_der_x509_certificate(shown).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(name)
