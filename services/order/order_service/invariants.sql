-- The invariants of the order database. Each query returns the rows that violate its invariant.

-- invariant: order_total_is_its_parts
-- An order's total is the sum of its items, shipping and tax.
SELECT o.id AS order_id, o.total_amount, coalesce(sum(i.quantity * i.unit_amount), 0) AS items
FROM orders o LEFT JOIN order_items i ON i.order_id = o.id
GROUP BY o.id
HAVING o.total_amount <> coalesce(sum(i.quantity * i.unit_amount), 0) + o.shipping_amount + o.tax_amount;

-- invariant: confirmed_order_is_paid
-- A confirmed order is paid in full, no more and no less: by its payments, or by a manual payment instead of them.
SELECT o.id AS order_id, o.status, o.total_amount, coalesce(m.amount, sum(p.amount), 0) AS paid
FROM orders o LEFT JOIN payments p ON p.order_id = o.id LEFT JOIN manual_payments m ON m.order_id = o.id
WHERE o.status IN ('confirmed', 'processing', 'shipped', 'delivered')
GROUP BY o.id, m.amount
HAVING coalesce(m.amount, sum(p.amount), 0) <> o.total_amount;

-- invariant: manually_paid_order_is_not_paid_twice
-- Fifteen minutes after an order was paid manually, all that was paid for it through the provider is refunded.
SELECT m.order_id, p.paid, coalesce(r.refunded, 0) AS refunded
FROM manual_payments m
JOIN LATERAL (
    SELECT sum(amount) AS paid, max(completed_at) AS completed_at FROM payments WHERE order_id = m.order_id
) p ON true
JOIN LATERAL (SELECT sum(amount) AS refunded FROM refunds WHERE order_id = m.order_id) r ON true
WHERE p.paid > coalesce(r.refunded, 0) AND greatest(p.completed_at, m.paid_at) < now() - interval '15 minutes';

-- invariant: history_ends_with_status
-- An order's history begins with pending and ends with the order's status.
SELECT o.id AS order_id, o.status, h.statuses
FROM orders o
LEFT JOIN (
    SELECT order_id, array_agg(status ORDER BY position) AS statuses FROM order_history GROUP BY order_id
) h ON h.order_id = o.id
WHERE h.statuses IS NULL OR h.statuses[1] <> 'pending' OR h.statuses[cardinality(h.statuses)] <> o.status;

-- invariant: history_follows_the_states
-- Each status change of an order is one that the state machine allows.
SELECT h.order_id, h.previous, h.status
FROM (
    SELECT order_id, status, lag(status) OVER (PARTITION BY order_id ORDER BY position) AS previous FROM order_history
) h JOIN orders o ON o.id = h.order_id
WHERE h.previous IS NOT NULL
  AND (h.previous, h.status) NOT IN (
    ('pending', 'confirmed'), ('pending', 'cancelled'), ('confirmed', 'processing'), ('confirmed', 'cancelled'),
    ('processing', 'shipped'), ('shipped', 'delivered')
  )
  AND NOT ((h.previous, h.status) = ('processing', 'cancelled') AND o.cancel_reason IN ('admin', 'out_of_stock'));

-- invariant: cancelled_order_has_a_reason
-- A cancelled order has a reason, and no other order has one.
SELECT id AS order_id, status, cancel_reason
FROM orders
WHERE (status = 'cancelled') <> (cancel_reason IS NOT NULL);

-- invariant: pending_order_is_not_past_its_expiry
-- An unpaid order is cancelled after it expires, unless its payment is in process: then payment is asked again at
-- expiry_check_at. The sweep that does it may be five minutes late, or later while payment does not answer. Between
-- expires_at and the first question lies a margin of at most ten minutes.
SELECT id AS order_id, expires_at, expiry_check_at
FROM orders
WHERE status = 'pending'
  AND coalesce(expiry_check_at, expires_at + interval '10 minutes') < now() - interval '5 minutes';

-- invariant: refunds_are_within_payments
-- A payment's refunds are not larger than the payment. A refund may be received up to 15 minutes before its payment.
SELECT r.payment_id, p.amount AS paid, sum(r.amount) AS refunded
FROM refunds r LEFT JOIN payments p ON p.id = r.payment_id
GROUP BY r.payment_id, p.amount
HAVING sum(r.amount) > p.amount OR (p.amount IS NULL AND max(r.refunded_at) < now() - interval '15 minutes');

-- invariant: sales_agree_with_orders
-- The recorded sales of an order add up to its total, and an order that was never confirmed has none.
SELECT s.order_id, o.total_amount, sum(s.amount) AS sold
FROM sales s LEFT JOIN orders o ON o.id = s.order_id
GROUP BY s.order_id, o.total_amount
HAVING o.total_amount IS DISTINCT FROM sum(s.amount)
    OR NOT EXISTS (SELECT FROM order_history h WHERE h.order_id = s.order_id AND h.status = 'confirmed');

-- invariant: confirmed_orders_are_in_the_sales
-- The sale of a confirmed order is recorded at most fifteen minutes after the confirmation.
SELECT h.order_id, h.at AS confirmed_at
FROM order_history h
WHERE h.status = 'confirmed' AND h.at < now() - interval '15 minutes'
  AND NOT EXISTS (SELECT FROM sales s WHERE s.order_id = h.order_id);

-- invariant: erased_buyer_left_no_address
-- An erased buyer has no cart, no address book, and no address in an order that is finished.
SELECT b.id AS buyer_id
FROM buyers b
WHERE b.erased_at IS NOT NULL
  AND (
    EXISTS (SELECT FROM carts c WHERE c.owner_id = b.id)
    OR EXISTS (SELECT FROM addresses a WHERE a.buyer_id = b.id)
    OR EXISTS (
        SELECT FROM orders o
        WHERE o.buyer_id = b.id AND o.status IN ('cancelled', 'delivered') AND o.shipping_address IS NOT NULL
    )
  );

-- invariant: orders_agree_with_payments
-- Orders and payments agree on what was captured and refunded, and on which orders are closed. A difference that was
-- found an hour ago was not repaired by the comparison, which tried four times.
SELECT order_id, differences, found_at FROM payment_differences WHERE found_at < now() - interval '1 hour';
