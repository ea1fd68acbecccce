"""The product catalogue: categories, products, search, and the product page."""
