collect_ignore = ["template"]  # its tests are run where a service is made of it: e2e/tests/unit/test_new_service.py
