"""The custom resource: its names, its spec, its CustomResourceDefinition, and the vocabulary of its status."""
