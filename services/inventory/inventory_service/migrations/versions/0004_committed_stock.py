"""Adds committed units and a maximum per order to stock, and shipped and fulfilled orders to reservations.

The release before this one keeps working on this schema. It takes the units of an order from on hand at payment, and
leaves `in_committed` false: such an order is fulfilled, as are all that were paid before this migration, so no row is
rewritten. It reads `stock.reserved`, which therefore counts the committed units too. When it cancels an order whose
units this release has committed, it adds them to on hand: a trigger takes them from there, since they never left.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
oldest_code = "0003"

RELEASE_COMMITTED = """
CREATE FUNCTION release_committed_units() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE stock
    SET on_hand = on_hand - quantity, reserved = reserved - quantity, committed = committed - quantity
    FROM reservation_lines AS line
    WHERE line.order_id = NEW.order_id AND line.product_id = stock.product_id;

    INSERT INTO movements (product_id, kind, delta, on_hand, order_id, at)
    SELECT product_id, 'sale', -quantity, on_hand, order_id, now()
    FROM reservation_lines JOIN stock USING (product_id) WHERE order_id = NEW.order_id;

    NEW.in_committed := false;
    RETURN NEW;
END
$$
"""
# This release changes the status and in_committed together, so the trigger fires for the one before alone.
RELEASE_COMMITTED_BEFORE_UPDATE = """
CREATE TRIGGER release_committed_units BEFORE UPDATE ON reservations FOR EACH ROW
WHEN (OLD.in_committed AND NEW.in_committed AND NEW.status <> 'committed') EXECUTE FUNCTION release_committed_units()
"""

STATUSES = "status IN ('pending', 'committed', 'fulfilled', 'released', 'expired')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")  # fail and be retried rather than queue every order behind a lock
    _add_flag("is_shipped")
    _add_flag("in_committed")
    op.drop_constraint("reservation_status", "reservations")
    _add_check(
        "reservation_status", "reservations", "status IN ('pending', 'committed', 'fulfilled', 'released', 'expired')"
    )
    _add_check("only_committed_orders_have_committed_units", "reservations", "NOT in_committed OR status = 'committed'")
    op.add_column("stock", sa.Column("committed", sa.BigInteger, nullable=False, server_default="0"))
    _add_check("committed_units_are_held", "stock", "committed >= 0 AND committed <= reserved")
    op.add_column("stock", sa.Column("max_per_order", sa.BigInteger, nullable=True))
    _add_check("maximum_is_positive", "stock", "max_per_order > 0")
    op.execute(RELEASE_COMMITTED)
    op.execute(RELEASE_COMMITTED_BEFORE_UPDATE)


def _add_flag(name: str) -> None:
    op.add_column("reservations", sa.Column(name, sa.Boolean, nullable=False, server_default="false"))


def _add_check(name: str, table: str, condition: str) -> None:
    """Adds a constraint that all existing rows meet, by the defaults above or by the constraint that it replaces.

    So they are not read while the table is locked: NOT VALID binds all later writes.
    """
    op.create_check_constraint(name, table, condition, postgresql_not_valid=True)
