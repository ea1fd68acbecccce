"""Conventions of gRPC client and server beside the contracts: a problem's trailers, names of methods, timestamps."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

CODE_KEY = "problem-code"
MEMBERS_KEY = "problem-members-bin"


def method_name(path: str | bytes) -> str:
    """Returns the name of a method, `package.Service/Method`, from the path that gRPC calls it by."""
    return (path.decode() if isinstance(path, bytes) else path).lstrip("/")


def neighbour_name(path: str | bytes) -> str:
    """Returns the name of the service that a method belongs to: `user` for `/shopapi.user.v1.UserService/GetUser`."""
    return method_name(path).split(".")[1]


def timestamp(at: datetime) -> Timestamp:
    """Returns a time as protobuf has it. `at` must have a time zone."""
    message = Timestamp()
    message.FromDatetime(at)
    return message
