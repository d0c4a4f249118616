"""`mrf run`: a batch of Dagster runs, some at a time, without a daemon.

Read it in the order in which data flows:

    history         where batches are kept: DAGSTER_HOME, their plans and their runs
    worker_process  what a process of its own does for one network
    workers         some such processes at a time
    console         what a batch prints
    batch_run       a batch under way: its networks, its log, its manifest
    batch           begin a batch, or go on with one
"""
