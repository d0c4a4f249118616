"""Dagster, thin: one noun per file. What the nouns do is in the packages above.

Read it in the order in which data flows:

    partitions         a partition for each network, and the pool of the registry
    resources          the pipeline as a resource
    printable_metadata texts of strangers on their way into Dagster's records
    private_dagster    what Dagster does not export, and why we use it
    processes          which process works on a run
    metadata           what a run records about a network
    run_records        the same, read back out of the event log
    assets             what a payer publishes, and the tables made of it
    checks             rules of every ingest as asset checks
    reported_checks    asset checks whose results the judging step reports
    refusals           the rule that warns of servers which refuse us
    freshness          networks whose payer publishes nothing new
    catalog            the DuckDB file of views, and the rules over all networks
    changes            month over month, and the report
    audit              the job that audits what is published
    discovery          what payers' portals name
    enrichment         providers: published, registered, and both together
    look_up            a submitted list of NPIs
    jobs               the jobs over assets
    sensors            watched indexes
    follow_up          what runs once a backfill has ended
    alerts             who hears of runs that fail and batches that end
    schedules          what happens by the calendar
    retention          old runs, forgotten
    run_launcher       Dagster's launcher of one machine, and its patience with SQLite
"""
