"""Watched indexes: what changed since the last look.

    registry     the file of watched indexes that people write
    listing      what one index names, taken down while it is read
    offers       what Dagster is told, and whether it heard
    memory       what was seen of each index, in SQLite
    reader       one index -> its tasks and its plan
    tick         one look at every index that is due -> the networks to run

Sensors of Dagster and `mrf index` call `tick`; nothing here knows either.
"""
