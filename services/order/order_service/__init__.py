"""The order service: orders and their state machine, shopping carts, address books and sales reports."""
