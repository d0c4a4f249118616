"""What jobs, tags and sensors are called."""

COMPREHENSIVE = "comprehensive"
LOOK_UP, LOOK_UP_ASSET = "look_up_npis", "npi_look_ups"
ITEMS_TAG = "mrf/items"  # of a run: how many NPIs it looks up
INGEST, ENRICH, DISCOVER = "ingest", "enrich_npis", "discover_portals"
THEN_TAG = "mrf/then"  # of a backfill: the job that runs once when it has ended
THEN_CONFIG_TAG = "mrf/then_config"  # its configuration, as JSON
AFTER_TAG = "mrf/after"  # of that run: the backfill's id
FOLLOWER = "enrich_after_backfill"  # the sensor that starts it
FOLLOWED_SECONDS = 7 * 24 * 3_600.0  # after the end of a backfill, in which it does
PARTITION_TAG, BACKFILL_TAG = "dagster/partition", "dagster/backfill"
WILL_RETRY_TAG, RETRIED_BY_TAG = "dagster/will_retry", "dagster/auto_retry_run_id"
