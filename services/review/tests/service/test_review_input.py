"""Every invalid request is refused with a status and code that a program can read, and never with a 500."""

import json

import pytest
from chassis_testing.tokens import TokenIssuer
from review_harness import RunningReviewService, new_product


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rating", 0),
        ("rating", 6),
        ("rating", -1),
        ("rating", 10**30),
        ("rating", 4.5),
        ("rating", "5"),
        ("rating", True),
        ("rating", None),
        ("rating", [5]),
        ("title", 5),
        ("title", "x" * 201),
        ("title", "a\x00b"),
        ("title", "\ud800"),
        ("text", {}),
        ("text", "x" * 10_001),
        ("text", "\x00"),
        ("author_id", 5),
        ("\ud800", 5),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_a_bad_field_is_named(service: RunningReviewService, field: str, value: object) -> None:
    product = new_product()
    review = await service.review(product, author=10)
    body, headers = json.dumps({"rating": 5, field: value}), {**service.bearer(11), "Content-Type": "application/json"}

    responses = [
        await service.http.post(f"/api/v1/products/{product}/reviews", content=body, headers=headers),
        await service.http.put(f"/api/v1/reviews/{review['id']}", content=body, headers=headers),
    ]

    for response in responses:
        assert (response.status_code, response.json()["code"]) == (422, "invalid_field")
        assert response.headers["content-type"] == "application/problem+json"
        if field.isascii():
            assert response.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid_field"),
        (b"{", 400, "malformed_json"),
        (b"[]", 422, "invalid_field"),
        (b"{}", 422, "invalid_field"),
        (b"[" * 100_000, 400, "malformed_json"),
        (b'{"rating": 1' + b"0" * 5000 + b"}", 400, "malformed_json"),
        (b'{"rating": "\xff"}', 400, "malformed_json"),
        (b'{"rating": 5}' + b" " * 1024 * 1024, 413, "body_too_large"),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_a_bad_body_gets_a_stable_code(
    service: RunningReviewService, body: bytes, status: int, code: str
) -> None:
    headers = {**service.bearer(10), "Content-Type": "application/json"}

    response = await service.http.post(f"/api/v1/products/{new_product()}/reviews", content=body, headers=headers)

    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("number", ["0", "-1", "x", str(2**63), "9" * 5000, "1%00"])
async def test_an_identifier_that_cannot_exist_is_refused(service: RunningReviewService, number: str) -> None:
    responses = [
        await service.http.get(f"/api/v1/products/{number}/reviews"),
        await service.http.delete(f"/api/v1/reviews/{number}", headers=service.bearer(10)),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(422, "invalid_field")] * 2


@pytest.mark.parametrize("query", ["page=0", "page=x", "page=10001", "limit=0", "limit=101", f"limit={'9' * 5000}"])
async def test_absurd_paging_is_refused(service: RunningReviewService, query: str) -> None:
    response = await service.http.get(f"/api/v1/products/{new_product()}/reviews?{query}")

    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, query.partition("=")[0])


@pytest.mark.parametrize("kind", ["none", "nonsense", "forged", "expired"])
async def test_writing_needs_a_valid_token(service: RunningReviewService, kind: str) -> None:
    product = new_product()
    review = await service.review(product, author=10)
    headers = {
        "none": {},
        "nonsense": {"Authorization": "Bearer a.b.c"},
        "forged": TokenIssuer().bearer(10),
        "expired": service.issuer.bearer(10, expires_in=-1),
    }[kind]
    code = "token_expired" if kind == "expired" else "unauthenticated"

    responses = [
        await service.http.post(f"/api/v1/products/{product}/reviews", json={"rating": 5}, headers=headers),
        await service.http.put(f"/api/v1/reviews/{review['id']}", json={"rating": 5}, headers=headers),
        await service.http.delete(f"/api/v1/reviews/{review['id']}", headers=headers),
    ]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [(401, code)] * 3


async def test_probes_and_documentation_answer(service: RunningReviewService) -> None:
    for path in ("/health", "/ready", "/swagger/", "/openapi.json"):
        assert (await service.http.get(path)).status_code == 200, path
