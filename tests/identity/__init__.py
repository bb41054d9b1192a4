"""Tests of remote_shell/identity/."""
