"""What of a public read its answer depends on, and when an answer is current."""

import gzip
import json

import pytest
from gateway_service.domain.answers import Headers, Snapshot, has_etag, make_answer, target_of
from gateway_service.domain.routes import ROUTES, Ownership, Upstream

JSON = (b"content-type", b"application/json")
LONG = json.dumps({"data": ["an espresso cup"] * 100}).encode()


def version(status: int = 200, headers: Headers | None = None, body: bytes = b"{}") -> bytes:
    answer = make_answer(status, headers or [JSON], body)
    assert answer is not None
    return answer.version


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", "/p"),
        ("limit=2&category=1", "/p?category=1&limit=2"),
        ("b=2&a=1&b=1", "/p?a=1&b=2&b=1"),
        ("q", "/p?q"),
        ("page=1&&limit=2", "/p?&limit=2&page=1"),
    ],
)
def test_parameters_are_sorted_by_name_and_those_of_one_name_keep_their_order(query: str, target: str) -> None:
    assert target_of("/p", query) == target


def test_equal_answers_have_equal_versions_and_different_ones_have_not() -> None:
    versions = [
        version(),
        version(404),
        version(body=b"[]"),
        version(headers=[(b"content-type", b"text/plain")]),
    ]
    assert len(set(versions)) == len(versions)
    assert version(headers=[JSON, (b"content-length", b"2")]) == version()


@pytest.mark.parametrize(
    "header",
    [
        (b"cache-control", b"private"),
        (b"cache-control", b"max-age=5, No-Store"),
        (b"cache-control", b"no-cache"),
        (b"cache-control", b"no-transform"),
        (b"set-cookie", b"a=1"),
        (b"vary", b"Authorization"),
        (b"vary", b"Accept-Encoding, Cookie"),
        (b"vary", b"*"),
        (b"content-encoding", b"br"),
    ],
)
def test_an_answer_that_may_depend_on_the_caller_is_not_shared(header: tuple[bytes, bytes]) -> None:
    assert make_answer(200, [JSON, header], b"{}") is None


@pytest.mark.parametrize("header", [(b"cache-control", b"public, max-age=5"), (b"vary", b"Accept, accept-encoding")])
def test_other_answers_are_shared(header: tuple[bytes, bytes]) -> None:
    assert make_answer(200, [JSON, header], b"{}") is not None


def test_an_answer_has_one_compressed_form_with_a_weak_tag() -> None:
    answer = make_answer(200, [JSON], LONG)
    assert answer is not None
    plain, compressed = answer.representation(accepts_gzip=False), answer.representation(accepts_gzip=True)
    assert plain.body == gzip.decompress(compressed.body) == LONG
    assert compressed.etag == b"W/" + plain.etag
    headers = dict(compressed.headers)
    assert (headers[b"content-encoding"], headers[b"vary"]) == (b"gzip", b"Accept-Encoding")
    assert int(headers[b"content-length"]) == len(compressed.body)
    assert answer.representation(accepts_gzip=True) is compressed
    assert answer.size > 2 * len(LONG)


def test_a_short_answer_is_not_compressed() -> None:
    answer = make_answer(200, [JSON], b"{}")
    assert answer is not None
    assert answer.representation(accepts_gzip=True) is answer.plain


def test_the_tag_of_the_service_is_kept() -> None:
    answer = make_answer(200, [JSON, (b"etag", b'"7"')], b"{}")
    assert answer is not None
    assert answer.plain.etag == b'"7"'


@pytest.mark.parametrize(("headers", "may_be"), [([JSON], True), ([JSON, (b"cache-control", b"max-age=0")], False)])
def test_an_answer_whose_service_says_how_long_to_use_it_is_not_confirmed(headers: Headers, may_be: bool) -> None:
    answer = make_answer(200, headers, b"{}")
    assert answer is not None
    assert answer.may_be_confirmed is may_be


@pytest.mark.parametrize(
    ("if_none_match", "matches"),
    [
        (b'"a"', True),
        (b'W/"a"', True),
        (b'"b", W/"a"', True),
        (b"*", True),
        (b'"b"', False),
        (b"a", False),
        (b"", False),
    ],
)
def test_entity_tags_are_compared_weakly(if_none_match: bytes, matches: bool) -> None:
    assert has_etag(if_none_match, b'"a"') is has_etag(if_none_match, b'W/"a"') is matches
    assert not has_etag(if_none_match if if_none_match != b"*" else b"", b"")


def test_a_version_is_current_in_its_generation_alone() -> None:
    snapshot = Snapshot(b"g1,g2", b"v1 1000000 g1,g2", 1_250_000)
    assert snapshot.age(b"v1") == 0.25
    assert snapshot.age(b"v2") is None
    assert Snapshot(b"g1,g3", b"v1 1000000 g1,g2", 1_250_000).age(b"v1") is None
    assert Snapshot(b"g1,g2", b"", 1_250_000).age(b"v1") is None
    assert Snapshot(b",", b"v1 1000000 ,", 1_250_000).age(b"v1") == 0.25  # no generation has begun


@pytest.mark.parametrize(
    ("record", "counts", "age"),
    [
        (b"v1 1000000 g1 5,2", b"5,2", 0.5),  # they are the same half a second ago, and when it was fetched
        (b"v1 1000000 g1 5,2", b"5,3", 9.0),
        (b"v1 1000000 g1 5,2", b"", 9.0),
        (b"v1 1000000 g1", b"5,2", 9.0),
        (b"v1 1000000 g1", b"", 9.0),
        (b"v1 9800000 g1 5,2", b"5,2", 0.2),  # fetched after they were read
        (b"v1 1000000 g2 5,2", b"5,2", None),
    ],
)
def test_an_answer_becomes_no_older_while_the_change_counts_stay_the_same(
    record: bytes, counts: bytes, age: float | None
) -> None:
    assert Snapshot(b"g1", record, 10_000_000, counts, 9_500_000).age(b"v1") == age


def test_counts_that_were_read_by_a_later_clock_make_no_answer_unusable() -> None:
    snapshot = Snapshot(b"g1", b"v1 9800000 g1 5", 10_000_000, b"5", 12_000_000)
    assert snapshot.age(b"v1") == 0.2


# The route table


def test_answers_are_shared_on_public_reads_alone() -> None:
    shared = [route for route in ROUTES if route.shows]
    assert all(route.may_be_stored and route.ownership is Ownership.NONE for route in shared)
    assert [route.path.removeprefix("/api/v1") for route in shared] == [
        "/products",
        "/products/suggest",
        "/products/{product_id}",
        "/products/{product_id}/recommendations",
        "/products/{product_id}/reviews",
        "/products/{product_id}/rating",
        "/categories",
    ]
    assert all(route.upstream in route.shows for route in shared)


def test_every_write_to_a_service_ends_the_answers_that_show_its_data() -> None:
    """Exceptions: a check is no write, and what accounts and carts have beside names is shown to their owners alone."""
    for route in ROUTES:
        if route.method == "GET":
            assert not route.changes
        elif route.upstream in (Upstream.PRODUCT, Upstream.REVIEW, Upstream.INVENTORY):
            assert route.changes == (() if route.path.endswith("/check-availability") else (route.upstream,))
        elif route.upstream is Upstream.ORDER and "/orders" in route.path:
            assert route.changes == (Upstream.INVENTORY,)
        elif route.path.endswith(("/users/me", "/users/{user_id}")):
            assert route.changes == (Upstream.USER,)
        else:
            assert not route.changes, route
