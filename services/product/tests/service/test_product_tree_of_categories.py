"""Categories make a tree, whatever is done to it at once."""

import asyncio
import random
from typing import Any

import httpx
import pytest
from product_harness import Shop


async def move(shop: Shop, category: int, parent: int | None, name: str | None = None) -> httpx.Response:
    body = {"name": name or f"Moved {category}", "parent_id": parent}
    return await shop.http.put(f"/api/v1/categories/{category}", json=body, headers=shop.admin)


async def tree(shop: Shop, root: int) -> dict[str, Any]:
    for page in range(1, 100):
        answer = (await shop.http.get("/api/v1/categories", params={"limit": 100, "page": page})).json()
        for branch in answer["data"]:
            if branch["id"] == root:
                found: dict[str, Any] = branch
                return found
    raise LookupError(root)


async def test_categories_are_shown_as_trees_each_level_by_name(shop: Shop) -> None:
    root = await shop.category("Tree")
    last, first = await shop.category("zithers", root), await shop.category("Accordions", root)
    leaf = await shop.category("Leaf", last)

    assert await tree(shop, root) == {
        "id": root,
        "name": "Tree",
        "parent_id": None,
        "children": [
            {"id": first, "name": "Accordions", "parent_id": root, "children": []},
            {
                "id": last,
                "name": "zithers",
                "parent_id": root,
                "children": [{"id": leaf, "name": "Leaf", "parent_id": last, "children": []}],
            },
        ],
    }


async def test_a_category_moves_with_all_that_is_below_it(shop: Shop) -> None:
    here, there = await shop.category(), await shop.category()
    child = await shop.category(parent=here)
    grandchild = await shop.category(parent=child)
    product = await shop.product(category_id=grandchild)
    assert await shop.names(category=here) == [product["name"]]

    moved = await move(shop, child, there, "Moved")

    assert (moved.status_code, moved.json()["data"]) == (200, {"id": child, "name": "Moved", "parent_id": there})
    assert await shop.names(category=here) == []
    assert await shop.names(category=there) == await shop.names(category=child) == [product["name"]]
    assert (await tree(shop, there))["children"][0]["children"][0]["id"] == grandchild

    assert (await move(shop, child, None)).json()["data"]["parent_id"] is None
    assert await shop.names(category=there) == []


async def test_a_category_that_is_renamed_stays_where_it_is(shop: Shop) -> None:
    parent = await shop.category()
    child = await shop.category(parent=parent)

    answer = await shop.http.put(f"/api/v1/categories/{child}", json={"name": "Renamed"}, headers=shop.admin)

    assert answer.json()["data"] == {"id": child, "name": "Renamed", "parent_id": parent}


async def test_names_are_unique_among_siblings(shop: Shop) -> None:
    men, women = await shop.category(), await shop.category()
    await shop.category("Shirts", men)
    shirts = await shop.category("Shirts", women)

    added = await shop.http.post("/api/v1/categories", json={"name": "shirts", "parent_id": men}, headers=shop.admin)
    moved = await move(shop, shirts, men, "SHIRTS")

    assert [(answer.status_code, answer.json()["code"]) for answer in (added, moved)] == [(409, "category_exists")] * 2


async def test_a_category_is_not_moved_below_itself(shop: Shop) -> None:
    root = await shop.category()
    child = await shop.category(parent=root)
    grandchild = await shop.category(parent=child)

    for parent in (root, child, grandchild):
        answer = await move(shop, root, parent)
        assert (answer.status_code, answer.json()["code"]) == (409, "category_cycle")


async def test_a_parent_must_exist(shop: Shop) -> None:
    child = await shop.category()
    added = await shop.http.post("/api/v1/categories", json={"name": "X", "parent_id": 987654321}, headers=shop.admin)
    moved = await move(shop, child, 987654321)

    assert [(answer.status_code, answer.json()["code"]) for answer in (added, moved)] == [(422, "unknown_category")] * 2


@pytest.mark.parametrize("parent", [0, -1, "1", 2**63, 1.5, True, []])
async def test_a_bad_parent_is_named(shop: Shop, parent: object) -> None:
    answer = await shop.http.post("/api/v1/categories", json={"name": "X", "parent_id": parent}, headers=shop.admin)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "parent_id")


async def test_a_tree_does_not_grow_without_end(shop: Shop) -> None:
    path = [await shop.category()]
    while len(path) < 10:
        path.append(await shop.category(parent=path[-1]))
    branch = await shop.category()
    await shop.category(parent=branch)

    added = await shop.http.post("/api/v1/categories", json={"name": "X", "parent_id": path[-1]}, headers=shop.admin)
    moved = await move(shop, branch, path[-2])

    assert [(a.status_code, a.json()["code"]) for a in (added, moved)] == [(409, "category_too_deep")] * 2
    assert (await move(shop, branch, path[-3])).status_code == 200


async def test_a_category_with_others_below_it_stays(shop: Shop) -> None:
    root = await shop.category()
    child = await shop.category(parent=root)

    refused = await shop.http.delete(f"/api/v1/categories/{root}", headers=shop.admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "category_in_use")

    assert (await shop.http.delete(f"/api/v1/categories/{child}", headers=shop.admin)).status_code == 204
    assert (await shop.http.delete(f"/api/v1/categories/{root}", headers=shop.admin)).status_code == 204


async def test_a_category_is_never_lost_under_one_that_is_added_meanwhile(shop: Shop) -> None:
    for _ in range(10):
        root = await shop.category()
        added, removed = await asyncio.gather(
            shop.http.post("/api/v1/categories", json={"name": "New", "parent_id": root}, headers=shop.admin),
            shop.http.delete(f"/api/v1/categories/{root}", headers=shop.admin),
        )
        assert (added.status_code, removed.status_code) in [(201, 409), (422, 204)]


@pytest.mark.parametrize("seed", range(20))
async def test_moves_at_once_never_make_a_cycle(shop: Shop, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    members = [await shop.category() for _ in range(5)]

    wishes = [chance.sample(members, 2) for _ in range(12)] + [members[:2], members[1::-1]]
    answers = await asyncio.gather(*(move(shop, child, parent) for child, parent in wishes))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"category_cycle"}
    rows = await shop.rows("SELECT id, parent_id FROM categories WHERE id = ANY($1)", members)
    parents = dict(rows)
    for member in members:
        above, steps = parents[member], 0
        while above is not None:
            above, steps = parents[above], steps + 1
            assert steps <= len(members), f"a cycle above {member}: {parents}"
    assert any(parent is not None for parent in parents.values())
