"""An encrypted file gives back its content whole, or an error."""

from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from platform_backup.encryption import CHUNK_BYTES, HEADER_BYTES, BackupKey, decrypt, encrypt
from platform_backup.errors import BackupDamaged

KEY = BackupKey(bytes(range(32)))
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
ENCRYPTED_CHUNK = CHUNK_BYTES + 16


async def parts(content: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in content:
        yield part


async def encrypted(content: bytes, name: str = "a") -> bytes:
    return b"".join([part async for part in encrypt(parts([content]), KEY, name)])


async def decrypted(file: bytes, key: BackupKey = KEY, name: str = "a", size: int = 1000) -> bytes:
    cut = parts(file[at : at + size] for at in range(0, len(file), size))
    return b"".join([part async for part in decrypt(cut, key, name)])


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_has_its_content(size: int) -> None:
    content = bytes(size)

    assert await decrypted(await encrypted(content), size=100_000) == content


@given(st.lists(st.binary(max_size=50)), st.integers(1, 100))
async def test_parts_of_any_size_have_the_same_content(content: list[bytes], size: int) -> None:
    file = b"".join([part async for part in encrypt(parts(content), KEY, "a")])

    assert await decrypted(file, size=size) == b"".join(content)


async def test_the_same_content_is_another_file_each_time() -> None:
    assert await encrypted(b"content") != await encrypted(b"content")


@pytest.mark.parametrize(
    "length",
    [0, 10, HEADER_BYTES, HEADER_BYTES + 5, HEADER_BYTES + ENCRYPTED_CHUNK, HEADER_BYTES + ENCRYPTED_CHUNK + 9],
)
async def test_a_file_that_ends_too_early_is_refused(length: int) -> None:
    file = await encrypted(bytes(CHUNK_BYTES + 100))

    with pytest.raises(BackupDamaged):
        await decrypted(file[:length], size=100_000)


@given(st.data())
async def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    file = bytearray(await encrypted(b"content of a database"))
    file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(BackupDamaged):
        await decrypted(bytes(file))


async def test_chunks_in_another_order_are_refused() -> None:
    file = await encrypted(bytes(2 * CHUNK_BYTES + 1))
    header, first, rest = (
        file[:HEADER_BYTES],
        file[HEADER_BYTES:][:ENCRYPTED_CHUNK],
        file[HEADER_BYTES:][ENCRYPTED_CHUNK:],
    )
    second, last = rest[:ENCRYPTED_CHUNK], rest[ENCRYPTED_CHUNK:]

    for wrong in (header + second + first + last, header + first + last, header + first + first + second + last):
        with pytest.raises(BackupDamaged):
            await decrypted(wrong, size=100_000)


async def test_a_file_under_another_name_is_refused() -> None:
    with pytest.raises(BackupDamaged):
        await decrypted(await encrypted(b"orders", "order.dump"), name="payment.dump")


async def test_another_key_is_refused() -> None:
    with pytest.raises(BackupDamaged):
        await decrypted(await encrypted(b"content"), key=BackupKey(bytes(32)))


@pytest.mark.parametrize("text", ["", "short", "a" * 44, "é", "QUJD"])
def test_a_malformed_key_is_not_in_the_error(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -base64 32") as refused:
        BackupKey.parse(text)
    assert not text or text not in str(refused.value)
