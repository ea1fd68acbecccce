"""Servers with TLS for tests: an authority, and a proxy that encrypts connections to a server that does not."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chassis_testing.ports import free_port

_POSTGRES_TLS_REQUEST = bytes.fromhex("00000008 04d2162f")
"""SSLRequest, which a client of PostgreSQL sends before the TLS handshake."""
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """A certificate authority whose certificates are valid for a day."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority.test")])
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server_context(self, host: str) -> ssl.SSLContext:
        """Returns the context of a server with a certificate for this host name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            chain, private = Path(folder, "tls.crt"), Path(folder, "tls.key")
            chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            private.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            context.load_cert_chain(chain, private)
        return context

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        """Returns a certificate with the key identifiers of RFC 5280, which Python requires from version 3.13 on."""
        now = datetime.now(UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(issuer, critical=False)
        )


@asynccontextmanager
async def tls_proxy(host: str, port: int, context: ssl.SSLContext, *, is_postgres: bool = False) -> AsyncIterator[int]:
    """Runs a proxy with TLS on `localhost` to a server without. Yields its port.

    A client of PostgreSQL asks for TLS on an open connection; any other begins with the handshake.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if is_postgres:
                await _accept_tls_request(reader, writer, context)
            target_reader, target_writer = await asyncio.open_connection(host, port)
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, target_writer))
                both.create_task(_copy(target_reader, writer))
        except OSError:
            writer.transport.abort()

    own_port = free_port()
    server = await asyncio.start_server(serve, "127.0.0.1", own_port, ssl=None if is_postgres else context)
    try:
        yield own_port
    finally:
        server.close()


async def _accept_tls_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> None:
    if await reader.readexactly(len(_POSTGRES_TLS_REQUEST)) != _POSTGRES_TLS_REQUEST:
        raise ConnectionError("the client did not ask for TLS")
    writer.write(b"S")
    await writer.start_tls(context)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
    writer.close()
