"""`mrf run`: a batch of Dagster runs, some at a time, without a daemon.

history      where batches are kept: DAGSTER_HOME, their plans and their runs
workers      one process for each network under way
console      what a batch prints
batch        the batch itself: begin, go through the networks, resume, end
"""
