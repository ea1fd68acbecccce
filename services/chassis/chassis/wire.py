"""Python's values as the contracts write them, in calls and events alike."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(at: datetime) -> Timestamp:
    """`at` must know its time zone."""
    written = Timestamp()
    written.FromDatetime(at)
    return written
