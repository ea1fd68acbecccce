"""The S3 server of other tests."""

import socket

import pytest
from chassis_testing.s3_server import s3_server


async def test_a_server_that_cannot_start_is_not_waited_for() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(RuntimeError, match="ended with exit code"):
            async with s3_server("127.0.0.1", taken.getsockname()[1]):
                pass
