"""The inventory service: stock, its ledger and the reservations of orders."""
