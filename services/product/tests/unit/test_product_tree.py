"""The tree of categories, and what is counted along it."""

from hypothesis import given
from hypothesis import strategies as st
from product_service.domain.categories import Branch, Category, CategoryId, branches, with_subtrees

TREES = st.lists(st.integers(0, 30), max_size=30).map(
    lambda above: {CategoryId(n): CategoryId(p % n) if p % n else None for n, p in enumerate(above, 1)}
)
"""Parents by category: each is below one with a smaller number, or a root."""


def test_a_tree_has_everybody_below_their_parent_in_the_order_they_came() -> None:
    tea, cups, green = CategoryId(1), CategoryId(2), CategoryId(3)
    below = [Category(cups, "Cups", tea), Category(green, "Green", tea), Category(CategoryId(4), "Small", cups)]

    (grown,) = branches([Category(tea, "Tea")], below)

    small = Branch(CategoryId(4), "Small", cups, ())
    assert grown == Branch(tea, "Tea", None, (Branch(cups, "Cups", tea, (small,)), Branch(green, "Green", tea, ())))


@given(TREES, st.data())
def test_a_category_counts_what_is_below_it(parents: dict[CategoryId, CategoryId | None], data: st.DataObject) -> None:
    counts = {category: data.draw(st.integers(1, 9)) for category in parents if data.draw(st.booleans())}

    def is_below(category: CategoryId | None, above: CategoryId) -> bool:
        while category is not None and category != above:
            category = parents[category]
        return category is not None

    expected = {a: sum(n for c, n in counts.items() if is_below(c, a)) for a in parents}
    assert with_subtrees(counts, parents) == {category: count for category, count in expected.items() if count}
