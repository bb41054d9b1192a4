"""The server: who may do what, on which connection, and what becomes of it."""
