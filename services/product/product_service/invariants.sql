-- invariant: categories_make_a_tree
-- Every category has a root among its ancestors, or is one.
WITH RECURSIVE rooted AS (
    SELECT id FROM categories WHERE parent_id IS NULL
    UNION
    SELECT categories.id FROM categories JOIN rooted ON categories.parent_id = rooted.id
)
SELECT id AS category_id, parent_id FROM categories WHERE id NOT IN (SELECT id FROM rooted);

-- invariant: variants_have_one_seller
-- All variants of a group belong to one seller.
SELECT group_id, min(seller_id) AS seller_id, max(seller_id) AS other_seller_id
FROM products WHERE group_id IS NOT NULL AND deleted_at IS NULL
GROUP BY group_id HAVING min(seller_id) <> max(seller_id);

-- invariant: ratings_are_between_one_and_five
-- The average rating is between one and five stars.
SELECT id AS product_id, rating_stars, rating_count FROM products
WHERE deleted_at IS NULL AND (rating_average > 5 OR rating_average < 1 AND rating_count <> 0);

-- invariant: co_purchases_go_both_ways
-- The counts of a pair of products that were bought together are equal in both directions.
SELECT one.product_id, one.other_id, one.orders_count, other.orders_count AS other_orders_count
FROM co_purchases AS one LEFT JOIN co_purchases AS other
    ON other.product_id = one.other_id AND other.other_id = one.product_id
WHERE other.orders_count IS DISTINCT FROM one.orders_count;

-- invariant: co_purchases_were_orders
-- A product was not bought with another more often than it was bought at all.
SELECT co_purchases.product_id, other_id, co_purchases.orders_count, products.orders_count AS orders_of_product
FROM co_purchases LEFT JOIN products ON products.id = co_purchases.product_id
WHERE products.orders_count IS NULL OR co_purchases.orders_count > products.orders_count;

-- invariant: erased_sellers_sell_nothing
-- Five minutes after a seller's account was erased, none of the seller's products is for sale.
SELECT products.id AS product_id, seller_id
FROM erased_sellers JOIN products ON products.seller_id = erased_sellers.user_id AND products.deleted_at IS NULL
WHERE erased_sellers.received_at < now() - interval '5 minutes';

-- invariant: erased_sellers_have_no_text
-- Five minutes after a seller's account was erased, none of the seller's deleted products has texts.
SELECT products.id AS product_id, seller_id
FROM erased_sellers JOIN products
    ON products.seller_id = erased_sellers.user_id AND products.deleted_at IS NOT NULL AND products.name <> ''
WHERE erased_sellers.received_at < now() - interval '5 minutes';
