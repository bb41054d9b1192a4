"""The tests; tests/<package>/test_<module>.py is for remote_shell/<package>/<module>.py."""
