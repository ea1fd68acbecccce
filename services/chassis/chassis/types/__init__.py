"""Types that every domain uses: money, identifiers, the shape of an error. Standard library only."""
