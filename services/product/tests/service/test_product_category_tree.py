"""Categories form a tree, even after concurrent changes."""

import asyncio
import random
from typing import Any

import httpx
import pytest
from product_harness import Catalogue


async def move(catalogue: Catalogue, category: int, parent: int | None, name: str | None = None) -> httpx.Response:
    body = {"name": name or f"Moved {category}", "parent_id": parent}
    return await catalogue.http.put(f"/api/v1/categories/{category}", json=body, headers=catalogue.admin)


async def find_tree(catalogue: Catalogue, root: int) -> dict[str, Any]:
    """Returns the tree of a root category from the pages of the list."""
    for page in range(1, 100):
        response = (await catalogue.http.get("/api/v1/categories", params={"limit": 100, "page": page})).json()
        for branch in response["data"]:
            if branch["id"] == root:
                found: dict[str, Any] = branch
                return found
    raise LookupError(root)


async def test_categories_are_listed_as_trees_sorted_by_name(catalogue: Catalogue) -> None:
    root = await catalogue.add_category("Tree")
    last, first = await catalogue.add_category("zithers", root), await catalogue.add_category("Accordions", root)
    leaf = await catalogue.add_category("Leaf", last)

    assert await find_tree(catalogue, root) == {
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


async def test_a_category_moves_with_its_descendants(catalogue: Catalogue) -> None:
    here, there = await catalogue.add_category(), await catalogue.add_category()
    child = await catalogue.add_category(parent=here)
    grandchild = await catalogue.add_category(parent=child)
    product = await catalogue.add_product(category_id=grandchild)
    assert await catalogue.list_names(category=here) == [product["name"]]

    moved = await move(catalogue, child, there, "Moved")

    assert (moved.status_code, moved.json()["data"]) == (200, {"id": child, "name": "Moved", "parent_id": there})
    assert await catalogue.list_names(category=here) == []
    assert await catalogue.list_names(category=there) == await catalogue.list_names(category=child) == [product["name"]]
    assert (await find_tree(catalogue, there))["children"][0]["children"][0]["id"] == grandchild

    assert (await move(catalogue, child, None)).json()["data"]["parent_id"] is None
    assert await catalogue.list_names(category=there) == []


async def test_a_renamed_category_keeps_its_parent(catalogue: Catalogue) -> None:
    parent = await catalogue.add_category()
    child = await catalogue.add_category(parent=parent)

    response = await catalogue.http.put(
        f"/api/v1/categories/{child}", json={"name": "Renamed"}, headers=catalogue.admin
    )

    assert response.json()["data"] == {"id": child, "name": "Renamed", "parent_id": parent}


async def test_names_are_unique_among_siblings(catalogue: Catalogue) -> None:
    men, women = await catalogue.add_category(), await catalogue.add_category()
    await catalogue.add_category("Shirts", men)
    shirts = await catalogue.add_category("Shirts", women)

    added = await catalogue.http.post(
        "/api/v1/categories", json={"name": "shirts", "parent_id": men}, headers=catalogue.admin
    )
    moved = await move(catalogue, shirts, men, "SHIRTS")

    assert [(response.status_code, response.json()["code"]) for response in (added, moved)] == [
        (409, "category_exists")
    ] * 2


async def test_a_category_is_not_moved_below_itself(catalogue: Catalogue) -> None:
    root = await catalogue.add_category()
    child = await catalogue.add_category(parent=root)
    grandchild = await catalogue.add_category(parent=child)

    for parent in (root, child, grandchild):
        response = await move(catalogue, root, parent)
        assert (response.status_code, response.json()["code"]) == (409, "category_cycle")


async def test_a_parent_must_exist(catalogue: Catalogue) -> None:
    child = await catalogue.add_category()
    added = await catalogue.http.post(
        "/api/v1/categories", json={"name": "X", "parent_id": 987654321}, headers=catalogue.admin
    )
    moved = await move(catalogue, child, 987654321)

    assert [(response.status_code, response.json()["code"]) for response in (added, moved)] == [
        (422, "unknown_category")
    ] * 2


@pytest.mark.parametrize("parent", [0, -1, "1", 2**63, 1.5, True, []])
async def test_an_invalid_parent_is_reported(catalogue: Catalogue, parent: object) -> None:
    response = await catalogue.http.post(
        "/api/v1/categories", json={"name": "X", "parent_id": parent}, headers=catalogue.admin
    )

    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "parent_id")


async def test_a_tree_has_a_maximum_depth(catalogue: Catalogue) -> None:
    path = [await catalogue.add_category()]
    while len(path) < 10:
        path.append(await catalogue.add_category(parent=path[-1]))
    branch = await catalogue.add_category()
    await catalogue.add_category(parent=branch)

    added = await catalogue.http.post(
        "/api/v1/categories", json={"name": "X", "parent_id": path[-1]}, headers=catalogue.admin
    )
    moved = await move(catalogue, branch, path[-2])

    assert [(a.status_code, a.json()["code"]) for a in (added, moved)] == [(409, "category_too_deep")] * 2
    assert (await move(catalogue, branch, path[-3])).status_code == 200


async def test_a_category_with_subcategories_cannot_be_deleted(catalogue: Catalogue) -> None:
    root = await catalogue.add_category()
    child = await catalogue.add_category(parent=root)

    refused = await catalogue.http.delete(f"/api/v1/categories/{root}", headers=catalogue.admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "category_in_use")

    assert (await catalogue.http.delete(f"/api/v1/categories/{child}", headers=catalogue.admin)).status_code == 204
    assert (await catalogue.http.delete(f"/api/v1/categories/{root}", headers=catalogue.admin)).status_code == 204


async def test_a_category_is_not_deleted_while_a_subcategory_is_added(catalogue: Catalogue) -> None:
    for _ in range(10):
        root = await catalogue.add_category()
        added, removed = await asyncio.gather(
            catalogue.http.post("/api/v1/categories", json={"name": "New", "parent_id": root}, headers=catalogue.admin),
            catalogue.http.delete(f"/api/v1/categories/{root}", headers=catalogue.admin),
        )
        assert (added.status_code, removed.status_code) in [(201, 409), (422, 204)]


@pytest.mark.parametrize("seed", range(20))
async def test_concurrent_moves_never_make_a_cycle(catalogue: Catalogue, seed: int) -> None:
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    members = [await catalogue.add_category() for _ in range(5)]

    moves = [chance.sample(members, 2) for _ in range(12)] + [members[:2], members[1::-1]]
    responses = await asyncio.gather(*(move(catalogue, child, parent) for child, parent in moves))

    assert {response.status_code for response in responses} <= {200, 409}
    assert {response.json()["code"] for response in responses if response.status_code == 409} <= {"category_cycle"}
    rows = await catalogue.rows("SELECT id, parent_id FROM categories WHERE id = ANY($1)", members)
    parents = dict(rows)
    for member in members:
        ancestor, steps = parents[member], 0
        while ancestor is not None:
            ancestor, steps = parents[ancestor], steps + 1
            assert steps <= len(members), f"a cycle above {member}: {parents}"
    assert any(parent is not None for parent in parents.values())
