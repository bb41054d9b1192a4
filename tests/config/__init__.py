"""Tests of remote_shell/config/."""
