-- The invariants of stock. Each query returns the rows that violate its invariant.

-- invariant: stock_is_never_oversold
-- No more units are reserved and committed than are on hand, and no number is below zero.
-- The column stock.reserved counts the committed units too.
SELECT product_id, on_hand, reserved - committed AS reserved, committed
FROM stock
WHERE committed < 0 OR reserved < committed OR on_hand < reserved;

-- invariant: reserved_is_what_open_reservations_hold
-- A product's reserved units are the sum of the lines of pending reservations.
SELECT product_id, stock.reserved - committed AS reserved, coalesce(held.quantity, 0) AS held
FROM stock
LEFT JOIN (
    SELECT product_id, sum(quantity) AS quantity
    FROM reservation_lines JOIN reservations USING (order_id)
    WHERE status = 'pending'
    GROUP BY product_id
) AS held USING (product_id)
WHERE stock.reserved - committed <> coalesce(held.quantity, 0);

-- invariant: committed_is_what_paid_orders_hold
-- A product's committed units are the sum of the lines of paid orders that are not shipped.
SELECT product_id, committed, coalesce(held.quantity, 0) AS held
FROM stock
LEFT JOIN (
    SELECT product_id, sum(quantity) AS quantity
    FROM reservation_lines JOIN reservations USING (order_id)
    WHERE in_committed
    GROUP BY product_id
) AS held USING (product_id)
WHERE committed <> coalesce(held.quantity, 0);

-- invariant: stock_is_the_sum_of_its_movements
-- The stock on hand is the units that came minus the units that left.
SELECT product_id, stock.on_hand, coalesce(moved.delta, 0) AS moved
FROM stock
LEFT JOIN (SELECT product_id, sum(delta) AS delta FROM movements GROUP BY product_id) AS moved USING (product_id)
WHERE stock.on_hand <> coalesce(moved.delta, 0);

-- invariant: each_movement_follows_the_one_before
-- The stock after a movement is the stock after the movement before it, plus its delta.
SELECT id, product_id, delta, on_hand, on_hand_before
FROM (
    SELECT *, coalesce(lag(on_hand) OVER (PARTITION BY product_id ORDER BY id), 0) AS on_hand_before FROM movements
) AS followed
WHERE on_hand <> on_hand_before + delta;

-- invariant: shipped_lines_are_sold_once
-- Each line of a fulfilled reservation has exactly one movement in the ledger, its sale, and none of it came back.
-- A committed reservation without committed units is fulfilled: an earlier release sold its units at payment.
SELECT order_id, product_id, quantity, count(movements.id) AS movements, coalesce(sum(delta), 0) AS delta
FROM reservations
JOIN reservation_lines USING (order_id)
LEFT JOIN movements USING (order_id, product_id)
WHERE status = 'fulfilled' OR (status = 'committed' AND NOT in_committed)
GROUP BY order_id, product_id, quantity
HAVING count(movements.id) <> 1 OR sum(delta) <> -quantity;

-- invariant: only_fulfilled_orders_keep_units
-- All units that an order took from on hand are back unless its reservation is fulfilled.
SELECT order_id, movements.product_id, status, sum(delta) AS delta
FROM movements LEFT JOIN reservations USING (order_id)
WHERE order_id IS NOT NULL
AND (status = 'fulfilled' OR (status = 'committed' AND NOT in_committed)) IS NOT TRUE
GROUP BY order_id, movements.product_id, status
HAVING sum(delta) <> 0;

-- invariant: cancelled_orders_hold_nothing
-- A cancelled order has no reserved and no committed units.
SELECT order_id, status FROM reservations WHERE is_cancelled AND status IN ('pending', 'committed', 'fulfilled');

-- invariant: expired_reservations_are_released
-- No pending reservation is overdue by more than five minutes. Expiry takes seconds unless this service or order, which
-- is asked before, is down.
SELECT order_id, held_until FROM reservations WHERE status = 'pending' AND held_until < now() - interval '5 minutes';
