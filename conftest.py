"""What all tests share. Keeps the standard library's `operator` where it is:

pytest's importlib mode calls a test of the folder operator/ `operator.tests.unit.test_…` and, unless the module `operator` looks like a
package, puts an empty one in its place, for everybody. operator/tests/unit/test_standard_library.py checks that it does not.
"""

import operator

import structlog
from hypothesis import HealthCheck, settings

vars(operator)["__path__"] = []

# Plain tracebacks: structlog's default draws frames around every local variable, which takes seconds.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])

# A machine that is short of time is no fault of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
