"""One file a command: `add_arguments(parser)` says what it takes, `run(arguments)` does it and returns the exit status.

Nothing is imported here. A command imports what is heavy inside the function that needs it. Neighbour: `cli.main` has the table.
"""
