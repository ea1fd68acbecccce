"""Types that every domain uses: money, identifiers and problems. Standard library only."""
