"""The audit file: its events and how a line gets into it.

Knows no server: `server.audit` decides what is written, and keepers of jobs write how those ended.
Must never hold a secret: no environment's value, no input, no proof of a login.
"""
