"""The HTTP API's models: request and response bodies, query filters and their field types."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from chassis.http.authentication import Role
from chassis.http.schemas import Data, RequestBody, ResponseBody, StorableText
from fastapi import Depends, Header, Query
from pydantic import AfterValidator, Field

from user_service.domain import accounts as domain
from user_service.domain.mail_tokens import Purpose

Email = Annotated[
    domain.Email,
    AfterValidator(domain.normalize_email),
    Field(examples=["ada@example.com"], json_schema_extra={"pattern": domain.EMAIL_PATTERN}),
]
NewPassword = Annotated[
    str,
    AfterValidator(domain.normalize_new_password),
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
    AfterValidator(domain.normalize_password),
]
DisplayName = Annotated[
    StorableText,
    AfterValidator(domain.normalize_name),
    Field(examples=["Ada"], json_schema_extra={"pattern": domain.NAME_PATTERN, "maxLength": domain.NAME_MAX}),
]
Locale = Annotated[
    domain.Locale,
    AfterValidator(domain.normalize_locale),
    Field(
        examples=["en", "de-AT"],
        description="a language tag (BCP 47), which decides the language of mails",
        json_schema_extra={"pattern": domain.LOCALE_PATTERN},
    ),
]
Phone = Annotated[
    domain.Phone,
    AfterValidator(domain.normalize_phone),
    Field(
        examples=["+4915112345678"],
        description="a telephone number of the form E.164",
        json_schema_extra={"pattern": domain.PHONE_PATTERN},
    ),
]
TokenText = Annotated[str, Field(max_length=256)]
UserAgentHeader = Annotated[
    str | None, Header(description="the program: shown in the list of sessions, and tells new devices from known ones")
]


async def _account_search(
    q: Annotated[
        StorableText | None, Query(max_length=100, description="part of the e-mail address or the name, in any case")
    ] = None,
    role: Annotated[domain.Role | None, Query(description="only users with this role")] = None,
    is_active: Annotated[bool | None, Query(description="only users who are active, or deactivated")] = None,
) -> domain.AccountSearch:
    return domain.AccountSearch(q, role, is_active)


SearchQuery = Annotated[domain.AccountSearch, Depends(_account_search)]


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
    """Fields which are left out are not changed."""

    display_name: DisplayName | None = Field(None, description="null removes the name: the user is shown by their id")
    locale: Locale = domain.DEFAULT_LOCALE
    phone: Phone | None = Field(None, description="null removes the number")

    def to_profile_update(self) -> domain.ProfileUpdate:
        given = self.model_fields_set & ProfileRequest.model_fields.keys()
        return domain.ProfileUpdate(frozenset(given), self.display_name, self.locale, self.phone)


class UserRequest(ProfileRequest):
    """Fields which are left out are not changed. Only an admin may send `role` and `is_active`."""

    role: Annotated[domain.Role | None, Field(strict=False)] = None
    is_active: bool | None = None

    def to_access_update(self) -> domain.AccessUpdate:
        return domain.AccessUpdate(self.role, self.is_active)


class ChangePasswordRequest(RequestBody):
    current_password: Password
    new_password: NewPassword


class ChangeEmailRequest(RequestBody):
    email: Email
    current_password: Password


class EraseRequest(RequestBody):
    current_password: Password


class UserResponse(ResponseBody):
    id: int
    email: str
    email_verified: bool
    role: Role
    is_active: bool
    display_name: str
    locale: str
    phone: str | None
    created_at: datetime


class TokensResponse(ResponseBody):
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - no secret
    expires_in: int = Field(description="seconds until the access token expires")
    user: UserResponse


class AcceptedResponse(ResponseBody):
    """The request was accepted; a mail follows if there is one to send."""

    status: Literal["accepted"] = "accepted"


class StoredSessionResponse(ResponseBody):
    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    user_agent: str | None


class SessionResponse(StoredSessionResponse):
    current: bool = Field(description="whether this request was made with this session")


class MailRequestResponse(ResponseBody):
    id: UUID
    purpose: Purpose
    email: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    replaced_at: datetime | None
    replaced_email: str | None


class LoginFailuresResponse(ResponseBody):
    """Wrong passwords in a row for the user's e-mail address."""

    count: int
    last_at: datetime
    locked_until: datetime | None


class DeviceResponse(ResponseBody):
    """A program on a network with which the user has logged in. Which ones they are is stored as digests alone."""

    first_used_at: datetime
    last_used_at: datetime


class ExportResponse(ResponseBody):
    """All data stored about a user, except hashes of secrets."""

    account: UserResponse
    sessions: list[StoredSessionResponse]
    mail_requests: list[MailRequestResponse]
    failures: LoginFailuresResponse | None
    devices: list[DeviceResponse]


ACCEPTED = Data[AcceptedResponse](data=AcceptedResponse())


def user_response(account: domain.Account) -> Data[UserResponse]:
    return Data(data=UserResponse.model_validate(account))
