"""`kubectl ecommerce`: reads, explains and changes the shops of a cluster."""
