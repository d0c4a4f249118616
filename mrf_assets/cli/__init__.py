"""The command line, one file for each command or group of commands; click is imported here alone.

Read it in this order:

    options      types and texts of flags that commands share
    sources      flags of commands that read a source, and what is printed of it
    run          `mrf run`, `mrf extract`, `mrf manifest`
    plan         `mrf plan`
    status_view  how a batch is printed
    batches      `mrf status`, `mrf stats`, `mrf retry-failed`, `mrf resume`
    query, check, report, discover, enrich, index, submit    the commands of their names
    app          the group `mrf`: errors become lines, results become exit codes
"""
