"""What gRPC client and server agree on beside the contracts: the trailers of a problem, the name of a method, timestamps."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

CODE_KEY = "problem-code"
MEMBERS_KEY = "problem-members-bin"


def method_name(full: str | bytes) -> str:
    return (full.decode() if isinstance(full, bytes) else full).lstrip("/")


def timestamp(at: datetime) -> Timestamp:
    """`at` must know its time zone."""
    written = Timestamp()
    written.FromDatetime(at)
    return written
