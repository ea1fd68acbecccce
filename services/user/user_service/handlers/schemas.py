"""What callers send and get."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from chassis.http.authentication import Role
from chassis.http.schemas import RequestBody, ResponseBody, StorableText
from pydantic import AfterValidator, Field

from user_service.domain import accounts as domain
from user_service.domain.mail import Purpose

Email = Annotated[
    domain.Email,
    AfterValidator(domain.normal_email),
    Field(examples=["ada@example.com"], json_schema_extra={"pattern": domain.EMAIL_PATTERN}),
]
NewPassword = Annotated[
    str,
    AfterValidator(domain.normal_password),
    Field(
        examples=["correct horse battery staple"],
        json_schema_extra={
            "minLength": domain.PASSWORD_MIN,
            "maxLength": domain.PASSWORD_MAX,
            "pattern": domain.PASSWORD_PATTERN,
            "format": "password",
        },
    ),
]
Password = Annotated[
    str,
    Field(
        max_length=domain.PASSWORD_MAX,
        examples=["correct horse battery staple"],
        json_schema_extra={"format": "password"},
    ),
    AfterValidator(domain.typed_password),
]
DisplayName = Annotated[
    StorableText,
    AfterValidator(domain.normal_name),
    Field(examples=["Ada"], json_schema_extra={"pattern": domain.NAME_PATTERN, "maxLength": domain.NAME_MAX}),
]
Locale = Annotated[
    domain.Locale,
    AfterValidator(domain.normal_locale),
    Field(
        examples=["en", "de-AT"],
        description="a language tag (BCP 47)",
        json_schema_extra={"pattern": domain.LOCALE_PATTERN},
    ),
]
Phone = Annotated[
    domain.Phone,
    AfterValidator(domain.normal_phone),
    Field(examples=["+4915112345678"], description="E.164", json_schema_extra={"pattern": domain.PHONE_PATTERN}),
]
TokenText = Annotated[str, Field(max_length=256)]


class RegisterRequest(RequestBody):
    email: Email
    password: NewPassword
    role: Literal["customer", "seller"] = "customer"
    display_name: DisplayName | None = None
    locale: Locale = domain.DEFAULT_LOCALE


class LoginRequest(RequestBody):
    email: Email
    password: Password


class RefreshRequest(RequestBody):
    refresh_token: TokenText


class ForgotPasswordRequest(RequestBody):
    email: Email


class ResetPasswordRequest(RequestBody):
    token: TokenText
    new_password: NewPassword


class VerifyEmailRequest(RequestBody):
    token: TokenText


class ProfileRequest(RequestBody):
    """What is left out stays as it is."""

    display_name: DisplayName | None = Field(None, description="null: shown by number")
    locale: Locale = domain.DEFAULT_LOCALE
    phone: Phone | None = Field(None, description="null: forgotten")

    def to_profile(self) -> domain.Profile:
        given = self.model_fields_set & ProfileRequest.model_fields.keys()
        return domain.Profile(frozenset(given), self.display_name, self.locale, self.phone)


class UserRequest(ProfileRequest):
    """What is left out stays as it is. `role` and `is_active` are for admins to decide."""

    role: Annotated[domain.Role | None, Field(strict=False)] = None
    is_active: bool | None = None

    def to_standing(self) -> domain.Standing:
        return domain.Standing(self.role, self.is_active)


class ChangePasswordRequest(RequestBody):
    current_password: Password
    new_password: NewPassword


class ChangeEmailRequest(RequestBody):
    email: Email
    current_password: Password


class UserAnswer(ResponseBody):
    id: int
    email: str
    email_verified: bool
    role: Role
    is_active: bool
    display_name: str
    locale: str
    phone: str | None
    created_at: datetime


class TokensAnswer(ResponseBody):
    """`expires_in` is in seconds, of the access token."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - no secret
    expires_in: int
    user: UserAnswer


class AcceptedAnswer(ResponseBody):
    """What was asked for happens by mail, if it can."""

    status: Literal["accepted"] = "accepted"


class HeldSessionAnswer(ResponseBody):
    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    user_agent: str | None


class SessionAnswer(HeldSessionAnswer):
    current: bool
    """Whether this request comes from it."""


class MailRequestAnswer(ResponseBody):
    id: UUID
    purpose: Purpose
    email: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    replaced_at: datetime | None


class FailuresAnswer(ResponseBody):
    """Wrong passwords in a row."""

    count: int
    last_at: datetime
    locked_until: datetime | None


class ExportAnswer(ResponseBody):
    """All that is held about a user, but for hashes of what is secret."""

    account: UserAnswer
    sessions: list[HeldSessionAnswer]
    mail_requests: list[MailRequestAnswer]
    failures: FailuresAnswer | None
