"""The shops that are measured, and the floor beside them."""
