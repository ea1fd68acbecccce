"""Addresses of the test servers that `make test-env-up` starts and prints. A missing one fails the test."""

import os


def environment_variable(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise LookupError(
            f'{name} is not set: run `eval "$(hack/compose/test-env env)"` after `make test-env-up`'
        ) from None
