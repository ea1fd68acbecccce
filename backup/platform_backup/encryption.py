"""The encryption of a backup's files: AES-256-GCM in chunks, so that a database of any size needs little memory.

A file is a header (the format and a random salt) and chunks. The key of a file is derived from the key of the shop, the
salt, and the name of the file (HKDF, RFC 5869), so that no two files share a key, and a file under another name is
refused. The nonce of a chunk is its number, and whether it is the last one: a chunk that is missing, repeated, moved or
changed, and a file that ends too early, are refused. The construction is that of age's payload, and STREAM in the
literature (Hoang, Reyhanitabar, Rogaway, Vizár, 2015).
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from platform_backup.errors import BackupDamaged

CHUNK_BYTES = 1 << 20
"""The plain bytes of a chunk."""
_FORMAT = b"ecommerce-backup/1\n"
_SALT_BYTES = 32
_TAG_BYTES = 16
_KEY_BYTES = 32
HEADER_BYTES = len(_FORMAT) + _SALT_BYTES


@dataclass(frozen=True, slots=True)
class BackupKey:
    """The key of a shop's backups, from which the keys of all files are derived."""

    _key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "BackupKey":
        """Returns the key that `openssl rand -base64 32` printed. Raises ValueError, without a part of the text."""
        try:
            key = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            raise ValueError("write 32 random bytes in base64, as `openssl rand -base64 32` prints them")
        return cls(key)

    @property
    def id(self) -> str:
        """The name of the key, from which it cannot be computed: manifests have it."""
        return self._derive(b"", b"id")[:8].hex()

    def sign(self, message: bytes) -> str:
        """Returns the HMAC-SHA256 of a message in hexadecimal digits."""
        return hmac.digest(self._derive(b"", b"manifest"), message, hashlib.sha256).hex()

    def of_file(self, salt: bytes, name: str) -> AESGCM:
        """Returns the cipher of one file."""
        return AESGCM(self._derive(salt, b"file/" + name.encode()))

    def _derive(self, salt: bytes, purpose: bytes) -> bytes:
        return HKDF(SHA256(), _KEY_BYTES, salt or None, b"ecommerce-backup/1/" + purpose).derive(self._key)


async def encrypt(plain: AsyncIterator[bytes], key: BackupKey, name: str) -> AsyncIterator[bytes]:
    """Yields the encrypted file `name` whose content is `plain`."""
    salt = secrets.token_bytes(_SALT_BYTES)
    header = _FORMAT + salt
    yield header
    cipher, number = key.of_file(salt, name), 0
    async for chunk, is_last in _chunks(plain, CHUNK_BYTES):
        yield cipher.encrypt(_nonce(number, is_last=is_last), chunk, header)
        number += 1


async def decrypt(encrypted: AsyncIterator[bytes], key: BackupKey, name: str) -> AsyncIterator[bytes]:
    """Yields the content of the encrypted file `name`.

    Raises BackupDamaged at the first chunk that is not as it was written, so what was yielded before may be used only
    if the iteration ends without an error.
    """
    body = _Buffered(encrypted)
    header = await body.read(HEADER_BYTES)
    if len(header) != HEADER_BYTES or not header.startswith(_FORMAT):
        raise BackupDamaged(f"{name} is not an encrypted file of a backup")
    cipher, number = key.of_file(header[len(_FORMAT) :], name), 0
    async for chunk, is_last in _chunks(body, CHUNK_BYTES + _TAG_BYTES):
        try:
            plain = cipher.decrypt(_nonce(number, is_last=is_last), chunk, header)
        except InvalidTag:
            raise BackupDamaged(
                f"{name} is cut off or changed at byte {HEADER_BYTES + number * (CHUNK_BYTES + _TAG_BYTES)}: restore "
                "another backup"
            ) from None
        yield plain
        number += 1


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


class _Buffered:
    """An asynchronous iterator of bytes from which an exact number can be read first."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._kept = b""

    async def read(self, size: int) -> bytes:
        """Returns `size` bytes, or fewer at the end."""
        while len(self._kept) < size:
            part = await anext(self._source, None)
            if part is None:
                break
            self._kept += part
        taken, self._kept = self._kept[:size], self._kept[size:]
        return taken

    def __aiter__(self) -> "_Buffered":
        return self

    async def __anext__(self) -> bytes:
        if self._kept:
            kept, self._kept = self._kept, b""
            return kept
        return await anext(self._source)


async def _chunks(source: AsyncIterator[bytes], size: int) -> AsyncIterator[tuple[bytes, bool]]:
    """Yields chunks of exactly `size` bytes, the last one of 0 to `size`, each with whether it is the last."""
    kept = bytearray()
    async for part in source:
        kept += part
        while len(kept) > size:
            yield bytes(kept[:size]), False
            del kept[:size]
    yield bytes(kept), True
