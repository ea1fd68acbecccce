-- What must always be true of samples. Each query gives the rows that break its promise.

-- invariant: nothing_is_closed_before_it_is_opened
SELECT id, created_at, closed_at FROM samples WHERE closed_at < created_at;
