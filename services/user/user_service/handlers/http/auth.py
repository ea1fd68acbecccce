"""Registration, login and tokens over HTTP."""

from chassis.http.schemas import Data
from fastapi import APIRouter, Response

from user_service.domain.accounts import NewAccount, Role
from user_service.handlers.dependencies import RequestClient
from user_service.handlers.problems import retry_after_header
from user_service.handlers.schemas import (
    ACCEPTED,
    AcceptedResponse,
    ForgotPasswordRequest,
    LoginRequest,
    RefreshRequest,
    RegisterRequest,
    ResetPasswordRequest,
    TokensResponse,
    VerifyEmailRequest,
)
from user_service.service.email_verification import EmailVerificationService
from user_service.service.password_reset import PasswordResetService
from user_service.service.registration import RegistrationService
from user_service.service.sessions import SessionService, Tokens


def routes(
    registration: RegistrationService,
    sessions: SessionService,
    password_reset: PasswordResetService,
    email_verification: EmailVerificationService,
) -> APIRouter:
    router = APIRouter(prefix="/api/v1/auth", tags=["auth"])

    @router.post(
        "/register",
        status_code=201,
        summary="Register an account",
        description="Opens a session too, and mails a token to verify the e-mail address.",
    )
    async def register(request: RegisterRequest, response: Response, client: RequestClient) -> Data[TokensResponse]:
        new = NewAccount(request.email, Role(request.role), request.display_name, request.locale)
        return _tokens(await registration.register(new, request.password, client), response)

    @router.post(
        "/login",
        summary="Log in",
        description="Too many wrong passwords lock the e-mail address on the caller's network (429, with Retry-After).",
    )
    async def login(request: LoginRequest, response: Response, client: RequestClient) -> Data[TokensResponse]:
        with retry_after_header():
            tokens = await sessions.log_in(request.email, request.password, client)
        return _tokens(tokens, response)

    @router.post(
        "/refresh",
        summary="Exchange a refresh token for new tokens",
        description="A refresh token can be used once. A second use ends its session.",
    )
    async def refresh(request: RefreshRequest, response: Response) -> Data[TokensResponse]:
        return _tokens(await sessions.refresh(request.refresh_token), response)

    @router.post("/logout", status_code=204, summary="Log out: end the session of a refresh token")
    async def logout(request: RefreshRequest) -> None:
        await sessions.log_out(request.refresh_token)

    @router.post(
        "/forgot-password",
        status_code=202,
        summary="Request a password reset",
        description="Mails a token if an account has the e-mail address. The answer is the same for every address.",
    )
    async def forgot_password(request: ForgotPasswordRequest) -> Data[AcceptedResponse]:
        await password_reset.request(request.email)
        return ACCEPTED

    @router.post(
        "/reset-password",
        status_code=204,
        summary="Reset the password with a mailed token",
        description="Ends all sessions of the user.",
    )
    async def reset_password(request: ResetPasswordRequest) -> None:
        await password_reset.reset(request.token, request.new_password)

    @router.post(
        "/verify-email",
        status_code=204,
        summary="Verify an e-mail address with a mailed token",
        description="Verifies the address of a new account, or completes a change of the address.",
    )
    async def verify_email(request: VerifyEmailRequest) -> None:
        await email_verification.verify(request.token)

    return router


def _tokens(tokens: Tokens, response: Response) -> Data[TokensResponse]:
    response.headers["Cache-Control"] = "no-store"  # RFC 6749, 5.1
    return Data(data=TokensResponse.model_validate(tokens))
