"""The command line, one file for each command; click is imported here alone.

app          the group `mrf` and its main commands: errors become lines, results become exit codes
options      flags that commands share
"""
