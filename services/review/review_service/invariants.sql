-- The invariants of reviews. Each query returns the rows that violate its invariant.

-- invariant: ratings_are_what_shown_reviews_add_up_to
-- The count, the sum and the distribution of a product's rating are those of its approved reviews.
SELECT product_id, stored.count, stored.sum, counted.count AS counted_count, counted.sum AS counted_sum
FROM (SELECT * FROM ratings WHERE count <> 0 OR sum <> 0 OR stars_1 + stars_2 + stars_3 + stars_4 + stars_5 <> 0) AS stored
FULL JOIN (
    SELECT
        product_id,
        count(*) AS count,
        sum(rating) AS sum,
        count(*) FILTER (WHERE rating = 1) AS s1,
        count(*) FILTER (WHERE rating = 2) AS s2,
        count(*) FILTER (WHERE rating = 3) AS s3,
        count(*) FILTER (WHERE rating = 4) AS s4,
        count(*) FILTER (WHERE rating = 5) AS s5
    FROM reviews WHERE status = 'approved' GROUP BY product_id
) AS counted USING (product_id)
WHERE (stored.count, stored.sum, stars_1, stars_2, stars_3, stars_4, stars_5)
    IS DISTINCT FROM (counted.count, counted.sum, s1, s2, s3, s4, s5);

-- invariant: helpful_counts_are_votes
-- A review's helpful_count is the number of its votes.
SELECT id, helpful_count, coalesce(votes.count, 0) AS votes
FROM reviews
LEFT JOIN (SELECT review_id, count(*) AS count FROM helpful_votes GROUP BY review_id) AS votes ON review_id = id
WHERE helpful_count <> coalesce(votes.count, 0);

-- invariant: no_author_votes_for_their_own_review
SELECT id, author_id FROM reviews JOIN helpful_votes ON review_id = id AND user_id = author_id;

-- invariant: shown_reviews_have_no_reason_to_be_hidden
-- A moderation reason is for the author and admins alone: no public review has one.
SELECT id, status FROM reviews WHERE status = 'approved' AND moderation_reason IS NOT NULL;

-- invariant: removed_reviews_have_no_text
-- A review that its author removed while it was hidden has no title or text and is not shown, until the author revises it.
SELECT id, status FROM reviews WHERE removed_at = updated_at AND (status <> 'rejected' OR title IS NOT NULL OR text IS NOT NULL);

-- invariant: erased_accounts_have_no_text
-- No title, text or vote is left of an erased account.
SELECT user_id, id AS review_id FROM erased_users JOIN reviews ON author_id = user_id WHERE title IS NOT NULL OR text IS NOT NULL
UNION ALL
SELECT user_id, review_id FROM erased_users JOIN helpful_votes USING (user_id);
