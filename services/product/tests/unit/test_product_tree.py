"""The tree of categories, and the counts of its subtrees."""

from hypothesis import given
from hypothesis import strategies as st
from product_service.domain.categories import Category, CategoryId, CategoryTree, add_up_subtrees, build_trees

TREES = st.lists(st.integers(0, 30), max_size=30).map(
    lambda numbers: {CategoryId(n): CategoryId(p % n) if p % n else None for n, p in enumerate(numbers, 1)}
)
"""Parents by category: the parent of each has a smaller number, or is None."""


def test_a_tree_keeps_the_order_of_siblings_below_their_parent() -> None:
    tea, cups, green = CategoryId(1), CategoryId(2), CategoryId(3)
    below = [Category(cups, "Cups", tea), Category(green, "Green", tea), Category(CategoryId(4), "Small", cups)]

    (tree,) = build_trees([Category(tea, "Tea")], below)

    small = CategoryTree(CategoryId(4), "Small", cups, ())
    assert tree == CategoryTree(
        tea, "Tea", None, (CategoryTree(cups, "Cups", tea, (small,)), CategoryTree(green, "Green", tea, ()))
    )


@given(TREES, st.data())
def test_a_category_count_includes_its_descendants(
    parents: dict[CategoryId, CategoryId | None], data: st.DataObject
) -> None:
    counts = {category: data.draw(st.integers(1, 9)) for category in parents if data.draw(st.booleans())}

    def is_below(category: CategoryId | None, ancestor: CategoryId) -> bool:
        while category is not None and category != ancestor:
            category = parents[category]
        return category is not None

    expected = {a: sum(n for c, n in counts.items() if is_below(c, a)) for a in parents}
    assert add_up_subtrees(counts, parents) == {category: count for category, count in expected.items() if count}
