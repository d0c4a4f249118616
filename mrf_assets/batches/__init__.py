"""How a batch went: values, made of what its runs recorded.

Read it in the order in which data flows:

    budget       what a batch may cost
    statistics   counts, times, bytes and costs of a batch
    jobs         the same of the runs that are no networks
    manifest     the manifest file
"""
