"""The certificates of a platform's builtin stores, and the authority that signs them, derived from the master key.

A certificate follows from the key, its names and its period, to the byte: one that is lost comes back the same, and
the key of the authority is stored nowhere. docs/adr/0042-tls-to-the-stores.md says why. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from platform_operator.api.kinds import PlatformKey
from platform_operator.secrets.master_key import MasterKey

RENEWAL = timedelta(days=30)
"""A certificate is replaced after this time."""
LIFETIME = timedelta(days=90)
"""It stays valid for this time, which covers an operator that is away for two months."""
_CLOCK_SKEW = timedelta(days=1)
_ALWAYS = (datetime(2020, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
"""The validity of the authority, which ends with the master key alone. The end is that of RFC 5280, section 4.1.2.5,
for certificates without one."""
_COMPONENT, _AUTHORITY = "tls", "ca"
"""What keys and serial numbers are derived for."""
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True)
class Period:
    """The time of one certificate of a platform's stores. It begins for each platform at a time of its own, so that an
    operator of many platforms does not renew all of them at once."""

    start: datetime

    @property
    def end(self) -> datetime:
        """The time at which the certificate is not valid any more, two periods after it is replaced."""
        return self.start + LIFETIME


def period_at(key: PlatformKey, now: datetime) -> Period:
    """Returns the period whose certificate is to be used now."""
    length = int(RENEWAL.total_seconds())
    offset = int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:4]) % length
    seconds = int(now.timestamp()) - offset
    return Period(datetime.fromtimestamp(seconds - seconds % length + offset, UTC))


@lru_cache(maxsize=1024)
def authority_certificate(key: PlatformKey, master_key: MasterKey) -> str:
    """Returns the certificate in PEM by which clients verify the stores of a platform.

    This and the next function are cached, since each pass over a platform asks for the same: 4 ms of processor time.
    """
    private = _private_key(key, master_key, _AUTHORITY)
    name, serial = _authority_name(key), _serial(key, master_key, _AUTHORITY)
    signed = (
        _builder(name, name, private.public_key(), serial, *_ALWAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(private, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@lru_cache(maxsize=8192)
def store_certificate(key: PlatformKey, master_key: MasterKey, store: str, period: Period) -> Mapping[str, str]:
    """Returns the data of the Secret of a store: its certificate and key, and the certificate of the authority."""
    purpose, host = f"{store}/{period.start.isoformat()}", f"{key.name}-{store}"
    private, authority = _private_key(key, master_key, purpose), _private_key(key, master_key, _AUTHORITY)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    valid = (period.start - _CLOCK_SKEW, period.end)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    signed = (
        _builder(name, _authority_name(key), private.public_key(), _serial(key, master_key, purpose), *valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_host_names(host, key.namespace)), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return {
        "ca.crt": authority_certificate(key, master_key),
        "tls.crt": signed.public_bytes(serialization.Encoding.PEM).decode(),
        "tls.key": _pem(private),
    }


def _authority_name(key: PlatformKey) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{key.name} stores")])


def _host_names(host: str, namespace: str) -> list[x509.GeneralName]:
    """Returns the names of the store's Service, and that of a forwarded port."""
    local = f"{host}.{namespace}"
    names = (host, local, f"{local}.svc", f"{local}.svc.cluster.local", "localhost")
    return [x509.DNSName(name) for name in names]


def _private_key(key: PlatformKey, master_key: MasterKey, purpose: str) -> ec.EllipticCurvePrivateKey:
    """Derives a key from more random bits than its order has, as FIPS 186-5, A.2.1, says."""
    derived = b"".join(master_key.derive(key, _COMPONENT, f"{purpose}/{part}") for part in ("0", "1"))
    return ec.derive_private_key(int.from_bytes(derived) % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def _serial(key: PlatformKey, master_key: MasterKey, purpose: str) -> int:
    """Returns a positive number of at most 16 bytes. RFC 5280, section 4.1.2.2, requires one for each certificate."""
    return int.from_bytes(master_key.derive(key, _COMPONENT, f"{purpose}/serial")[:16]) >> 1 or 1


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    serial: int,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(private: ec.EllipticCurvePrivateKey) -> str:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
