"""The catalogue: categories, products, and the product page."""
