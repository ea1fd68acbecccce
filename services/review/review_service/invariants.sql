-- What must always be true of reviews. Each query gives the rows that break its promise.

-- invariant: ratings_are_what_shown_reviews_add_up_to
-- Count, sum and distribution of a product are those of its approved reviews.
SELECT product_id, kept.count, kept.sum, found.count AS found_count, found.sum AS found_sum
FROM (SELECT * FROM ratings WHERE count <> 0 OR sum <> 0 OR stars_1 + stars_2 + stars_3 + stars_4 + stars_5 <> 0) AS kept
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
) AS found USING (product_id)
WHERE (kept.count, kept.sum, stars_1, stars_2, stars_3, stars_4, stars_5)
    IS DISTINCT FROM (found.count, found.sum, s1, s2, s3, s4, s5);

-- invariant: helpful_counts_are_votes
-- A review's helpful_count is the number of its votes.
SELECT id, helpful_count, coalesce(votes.count, 0) AS votes
FROM reviews
LEFT JOIN (SELECT review_id, count(*) AS count FROM helpful_votes GROUP BY review_id) AS votes ON review_id = id
WHERE helpful_count <> coalesce(votes.count, 0);

-- invariant: nobody_votes_for_themselves
SELECT id, author_id FROM reviews JOIN helpful_votes ON review_id = id AND user_id = author_id;

-- invariant: shown_reviews_have_no_reason_to_be_hidden
-- A reason is between admins and the author: nothing that everybody reads has one.
SELECT id, status FROM reviews WHERE status = 'approved' AND moderation_reason IS NOT NULL;

-- invariant: removed_reviews_say_nothing
-- What an author removed while it was hidden has no words and is not shown, until the author says something new.
SELECT id, status FROM reviews WHERE removed_at = updated_at AND (status <> 'rejected' OR title IS NOT NULL OR text IS NOT NULL);

-- invariant: erased_accounts_say_nothing
-- Neither words nor votes are left of an account that was erased.
SELECT user_id, id AS review_id FROM erased_users JOIN reviews ON author_id = user_id WHERE title IS NOT NULL OR text IS NOT NULL
UNION ALL
SELECT user_id, review_id FROM erased_users JOIN helpful_votes USING (user_id);
