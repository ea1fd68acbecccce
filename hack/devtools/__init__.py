"""The developer's tools: they run the shop, fill it, observe it, check its documents, and cache test results."""
