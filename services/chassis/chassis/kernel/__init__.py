"""Words every domain speaks: money and identifiers. Standard library only."""
