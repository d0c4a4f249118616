"""Watched indexes: what changed since the last look.

    registry     the file of watched indexes that people write
    memory       what was seen of each, in SQLite: rows, statuses, offers
    reader       one index -> its tasks and its plan
    tick         one look at every index that is due -> the networks to run

Sensors of Dagster and `mrf index` call `tick`; nothing here knows either.
"""
