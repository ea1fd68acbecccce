-- The invariants of samples. Each query returns the rows that violate its invariant.

-- invariant: nothing_is_closed_before_it_is_opened
-- A sample is closed at the time that it was opened, or later.
SELECT id, created_at, closed_at FROM samples WHERE closed_at < created_at;
