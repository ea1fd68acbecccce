"""The developer's tools: run the shop, fill it, observe it, check its documents, remember test results."""
