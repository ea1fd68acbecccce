"""The public signing keys over HTTP."""

from fastapi import APIRouter, Response

from user_service.service.signing import Signer


class _KeySetResponse(Response):
    media_type = "application/jwk-set+json"


_KEY_SET_SCHEMA = {
    "type": "object",
    "required": ["keys"],
    "properties": {"keys": {"type": "array", "items": {"type": "object", "required": ["kty", "kid"]}}},
}
_CACHE_CONTROL = "public, max-age=300"


def routes(signer: Signer) -> APIRouter:
    router = APIRouter(tags=["keys"])

    @router.get(
        "/.well-known/jwks.json",
        summary="Get the public keys that verify access tokens (RFC 7517)",
        response_class=_KeySetResponse,
        responses={200: {"content": {_KeySetResponse.media_type: {"schema": _KEY_SET_SCHEMA}}}},
    )
    async def signing_keys() -> Response:
        return _KeySetResponse(signer.jwks, headers={"Cache-Control": _CACHE_CONTROL})

    return router
