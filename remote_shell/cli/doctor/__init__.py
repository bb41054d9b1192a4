"""What is wrong here, or between here and a server, and the line that mends it: a table of small checks that only look.

`client_side`, `server_side`, `machine` and `other_side` hold the checks, `finding` what they say, `showing` how it is shown. No check may
make, change or ask anything: who calls for help must not find more changed than they had.
"""
