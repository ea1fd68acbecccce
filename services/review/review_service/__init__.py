"""The review service: reviews of products, their moderation, helpful votes and ratings."""
