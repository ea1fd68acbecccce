-- The invariants of payments. Each query returns the rows that violate one.

-- invariant: refunds_within_captured
-- No more is refunded than was captured.
SELECT id, captured, refunded, refunding FROM payments
WHERE refunded + refunding > captured OR refunded < 0 OR refunding < 0;

-- invariant: one_live_payment_per_order
-- An order is never charged twice.
SELECT order_id, count(*) AS live FROM payments WHERE status <> 'failed' GROUP BY order_id HAVING count(*) > 1;

-- invariant: completed_is_captured
-- A completed payment has captured exactly its amount, an open one nothing. A failed one has captured nothing or a wrong
-- amount, which is refunded.
SELECT id, status, amount, captured FROM payments
WHERE captured <> CASE WHEN status IN ('completed', 'partially_refunded', 'refunded') THEN amount ELSE 0 END
  AND status <> 'failed';

-- invariant: wrong_captures_are_refunded
-- Ten minutes after a wrong amount was captured, all of it is refunded.
SELECT p.id, p.order_id, p.captured, p.refunded FROM payments p
WHERE p.status = 'failed' AND p.captured > p.refunded
  AND COALESCE((SELECT min(r.created_at) FROM refunds r WHERE r.payment_id = p.id), p.updated_at)
      < now() - interval '10 minutes';

-- invariant: status_matches_refunds
-- A payment is refunded if all of it was refunded, and partially refunded if a part was.
SELECT id, status, captured, refunded FROM payments
WHERE status <> 'failed'
  AND ((status = 'refunded') <> (captured > 0 AND refunded = captured)
       OR (status = 'partially_refunded') <> (refunded > 0 AND refunded < captured));

-- invariant: refunds_sum_up
-- What a payment has refunded, and is refunding, is the sum of its refunds.
SELECT p.id, p.refunded, p.refunding, r.succeeded, r.pending
FROM payments p
JOIN (
    SELECT payment_id,
           COALESCE(sum(amount) FILTER (WHERE status = 'succeeded'), 0) AS succeeded,
           COALESCE(sum(amount) FILTER (WHERE status = 'pending'), 0) AS pending
    FROM refunds GROUP BY payment_id
) r ON r.payment_id = p.id
WHERE p.refunded <> r.succeeded OR p.refunding <> r.pending
UNION ALL
SELECT id, refunded, refunding, 0, 0 FROM payments p
WHERE refunded + refunding > 0 AND NOT EXISTS (SELECT FROM refunds WHERE payment_id = p.id);

-- invariant: refunds_in_the_currency_of_their_payment
-- A refund has the currency of its payment.
SELECT r.id, r.currency, p.currency AS paid_in FROM refunds r JOIN payments p ON p.id = r.payment_id
WHERE r.currency <> p.currency;

-- invariant: cancelled_orders_are_refunded
-- Ten minutes after an order was cancelled, all that was paid for it is refunded. A refund that the provider refuses is tried
-- again, which updates the payment: so the time of the first attempt counts.
SELECT p.id, p.order_id, p.captured, p.refunded, o.cancelled_at
FROM payments p JOIN orders o ON o.id = p.order_id
WHERE o.cancelled_at < now() - interval '10 minutes'
  AND COALESCE(
          (SELECT min(r.created_at) FROM refunds r WHERE r.payment_id = p.id AND r.reason = 'order_cancelled'), p.updated_at
      ) < now() - interval '10 minutes'
  AND p.captured > p.refunded;

-- invariant: cancelled_orders_are_not_charged
-- Ten minutes after an order was cancelled, none of its payments is open.
SELECT p.id, p.order_id, p.status, o.cancelled_at
FROM payments p JOIN orders o ON o.id = p.order_id
WHERE o.cancelled_at < now() - interval '10 minutes' AND p.status IN ('pending', 'processing');

-- invariant: open_payments_have_a_next_check
-- Every payment that the provider may still change is scheduled for a check.
SELECT id, status, next_check_at FROM payments
WHERE status IN ('pending', 'processing') AND (next_check_at IS NULL OR next_check_at < now() - interval '10 minutes');

-- invariant: pending_refunds_have_a_next_check
-- Every pending refund is scheduled for a check.
SELECT id, payment_id, next_check_at FROM refunds
WHERE status = 'pending' AND (next_check_at IS NULL OR next_check_at < now() - interval '10 minutes');

-- invariant: provider_events_are_listed
-- All events of the provider up to a day ago are known: by their webhooks, or by listing them. This fails if the provider
-- has not answered for so long, or refuses to list its events: its key needs permission to read them.
SELECT listed_until, began_at FROM event_listing WHERE listed_until < now() - interval '1 day';

-- invariant: payments_have_their_order
-- No captured payment has an order that the order service does not know: its database was restored to an earlier state. Such
-- a payment is held from then on, and refunded if its order stays unknown (UNKNOWN_ORDER_REFUND_SECONDS).
SELECT o.payment_id, p.order_id, o.found_at FROM orphaned_payments o JOIN payments p ON p.id = o.payment_id
WHERE o.found_at < now() - interval '30 minutes';
