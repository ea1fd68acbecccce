"""The custom resource: object names and kinds, its spec, its CustomResourceDefinition, the conditions of its status."""
