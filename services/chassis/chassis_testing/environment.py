"""The addresses of the test servers, which `make test-env-up` starts. A test fails if one is missing."""

import os


def environment_variable(name: str) -> str:
    """Returns the value of a variable. Raises LookupError if it is not set."""
    try:
        return os.environ[name]
    except KeyError:
        raise LookupError(
            f'{name} is not set: run `eval "$(hack/compose/test-env env)"` after `make test-env-up`'
        ) from None
