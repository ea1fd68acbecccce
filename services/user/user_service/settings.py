"""Settings of the user service."""

from typing import Annotated

from chassis.settings import BackendSettings, GrpcCalleeSettings, RedisSettings
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from user_service.domain.accounts import Email, normalize_email, normalize_new_password

_SECRET_BYTES = 32


def _require_long_secret(secret: str) -> str:
    if len(secret.encode()) < _SECRET_BYTES:
        raise ValueError(f"write {_SECRET_BYTES} bytes or more, such as `openssl rand -base64 48` makes")
    return secret


def _require_long_if_set(secret: str | None) -> str | None:
    return None if secret is None else _require_long_secret(secret)


class Settings(BackendSettings, GrpcCalleeSettings, RedisSettings):
    jwt_secret: Annotated[str, AfterValidator(_require_long_secret), Field(repr=False)]
    """The secret from which all keys are derived.

    They are the key that signs access tokens, and those for mail tokens and for the digests of e-mail addresses.
    """
    jwt_secret_previous: Annotated[str | None, AfterValidator(_require_long_if_set), Field(repr=False)] = None
    """The secret before this one: access tokens and mail tokens made with it stay valid while it is set."""
    jwt_secret_next: Annotated[str | None, AfterValidator(_require_long_if_set), Field(repr=False)] = None
    """The secret that is to follow, whose public key is published before the first token is signed with it."""
    access_token_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    """How long an access token is valid, but not longer than its session.

    If the gateway's Redis is unavailable, it is accepted until then even if its session has ended, so it is short.
    """
    refresh_token_seconds: Annotated[int, Field(ge=1, le=31_536_000)] = 2_592_000
    """How long a session lives without being refreshed: 30 days."""
    verification_token_seconds: Annotated[int, Field(ge=60, le=2_592_000)] = 259_200
    """How long a mailed token that verifies an e-mail address is valid: 3 days."""
    reset_token_seconds: Annotated[int, Field(ge=60, le=86_400)] = 3600
    """How long a mailed token that resets a password is valid. It opens the account, so it is short."""
    mails_per_hour: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many mails for one purpose an account may request per hour."""
    login_failures_allowed: Annotated[int, Field(ge=1, le=100)] = 5
    """How many wrong passwords in a row from one network (/24 or /64) lock an e-mail address there.

    Each further one doubles the wait.
    """
    login_failures_account_allowed: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How many wrong passwords in a row from all networks lock an e-mail address for networks it has never used.

    Each further one makes them wait for `login_wait_seconds` again.
    """
    login_wait_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """How long the first lock of an e-mail address lasts."""
    login_wait_max_seconds: Annotated[int, Field(ge=1, le=86_400)] = 900
    """The longest that an e-mail address is locked, however many wrong passwords follow."""
    admin_email: Annotated[Email, AfterValidator(normalize_email)] | None = None
    """The e-mail address of the first admin, who is registered while the shop has never had one.

    Needs `admin_password`.
    """
    admin_password: Annotated[
        Annotated[str, AfterValidator(normalize_new_password)] | None, Field(repr=False, validate_default=True)
    ] = None
    """The password of the first admin, for the registration. Later it replaces `admin_password_previous` alone."""
    admin_password_previous: Annotated[str, Field(repr=False)] = ""
    """The password that the first admin may still have: it is replaced by `admin_password`, at the start.

    An admin who has chosen another password keeps it.
    """

    @field_validator("admin_password")
    @classmethod
    def _require_email_and_password(cls, password: str | None, others: ValidationInfo) -> str | None:
        if (password is None) != (others.data.get("admin_email") is None):
            raise ValueError("set both ADMIN_EMAIL and ADMIN_PASSWORD, or neither")
        return password
