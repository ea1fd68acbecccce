# e2e/tests/integration/test_integration_new_service.py runs the template's tests, in a service made from it.
collect_ignore = ["template"]
