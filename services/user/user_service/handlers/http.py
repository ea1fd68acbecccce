"""Registration, sessions and profiles over HTTP."""

from datetime import datetime
from typing import Annotated, Literal

from chassis.kernel.ids import UserId
from chassis.schemas import Answer, Data, PageOf, PageQuery, PathId, Request, Text
from chassis.tokens import Authenticator, Principal, Role
from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, Field

from user_service.domain import accounts as domain
from user_service.service.accounts import Accounts
from user_service.service.sessions import Sessions, Tokens
from user_service.service.signing import Signer

Email = Annotated[domain.Email, AfterValidator(domain.normal_email), Field(examples=["ada@example.com"])]
NewPassword = Annotated[
    str,
    AfterValidator(domain.normal_password),
    Field(
        examples=["correct horse battery staple"],
        json_schema_extra={
            "minLength": domain.PASSWORD_MIN,
            "maxLength": domain.PASSWORD_MAX,
            "format": "password",
        },
    ),
]
DisplayName = Annotated[Text, AfterValidator(domain.normal_name), Field(examples=["Ada"])]
RefreshTokenText = Annotated[str, Field(max_length=256)]


class RegisterRequest(Request):
    email: Email
    password: NewPassword
    role: Literal["customer", "seller"] = "customer"
    display_name: DisplayName | None = None


class LoginRequest(Request):
    email: Email
    password: Annotated[str, Field(max_length=domain.PASSWORD_MAX, examples=["correct horse battery staple"])]


class RefreshRequest(Request):
    refresh_token: RefreshTokenText


class ProfileRequest(Request):
    display_name: DisplayName


class UserAnswer(Answer):
    id: int
    email: str
    role: Role
    display_name: str
    created_at: datetime


class TokensAnswer(Answer):
    """`expires_in` is in seconds, of the access token."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - no secret
    expires_in: int
    user: UserAnswer


def routes(sessions: Sessions, accounts: Accounts, signer: Signer, auth: Authenticator) -> list[APIRouter]:
    return [_session_routes(sessions), _account_routes(accounts, auth), _key_routes(signer)]


def _session_routes(sessions: Sessions) -> APIRouter:
    router = APIRouter(prefix="/api/v1/auth", tags=["auth"])

    @router.post("/register", status_code=201, summary="Register; e-mail and password suffice")
    async def register(request: RegisterRequest, response: Response) -> Data[TokensAnswer]:
        new = domain.NewAccount(request.email, domain.Role(request.role), request.display_name)
        return _tokens(await sessions.register(new, request.password), response)

    @router.post("/login", summary="Log in")
    async def login(request: LoginRequest, response: Response) -> Data[TokensAnswer]:
        return _tokens(await sessions.log_in(request.email, domain.typed_password(request.password)), response)

    @router.post("/refresh", summary="New tokens for a refresh token, which is good once")
    async def refresh(request: RefreshRequest, response: Response) -> Data[TokensAnswer]:
        return _tokens(await sessions.refresh(request.refresh_token), response)

    @router.post("/logout", status_code=204, summary="End the session of a refresh token")
    async def logout(request: RefreshRequest) -> None:
        await sessions.log_out(request.refresh_token)

    return router


def _account_routes(accounts: Accounts, auth: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/api/v1/users", tags=["users"])
    anybody, admin = auth.required, auth.role(Role.ADMIN)

    @router.get("/me", summary="Oneself")
    async def get_me(principal: Annotated[Principal, Depends(anybody)]) -> Data[UserAnswer]:
        return _user(await accounts.get(principal.user_id))

    @router.put("/me", summary="Change how one is shown to others")
    async def put_me(request: ProfileRequest, principal: Annotated[Principal, Depends(anybody)]) -> Data[UserAnswer]:
        return _user(await accounts.rename(principal.user_id, request.display_name))

    @router.get("/{user_id}", summary="A user: oneself, or anybody for an admin")
    async def get_user(user_id: PathId, principal: Annotated[Principal, Depends(anybody)]) -> Data[UserAnswer]:
        return _user(await accounts.get_as(principal, UserId(user_id)))

    @router.get("", summary="All users, for an admin", dependencies=[Depends(admin)])
    async def list_users(paging: PageQuery) -> PageOf[UserAnswer]:
        users, total = await accounts.page(paging.offset, paging.limit)
        shown = [UserAnswer.model_validate(user) for user in users]
        return PageOf(data=shown, page=paging.page, limit=paging.limit, total=total)

    return router


def _key_routes(signer: Signer) -> APIRouter:
    router = APIRouter(tags=["keys"])

    @router.get("/.well-known/jwks.json", summary="The public keys that verify access tokens (RFC 7517)")
    async def signing_keys() -> Response:
        return Response(signer.jwks, media_type="application/jwk-set+json", headers={"Cache-Control": _KEYS_CACHING})

    return router


_KEYS_CACHING = "public, max-age=300"


def _tokens(tokens: Tokens, response: Response) -> Data[TokensAnswer]:
    response.headers["Cache-Control"] = "no-store"  # RFC 6749, 5.1
    return Data(data=TokensAnswer.model_validate(tokens))


def _user(account: domain.Account) -> Data[UserAnswer]:
    return Data(data=UserAnswer.model_validate(account))
