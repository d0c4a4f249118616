"""The job that audits what is published, without reading a file of a payer."""

import dagster as dg

from mrf_assets.defs.assets import POOL
from mrf_assets.defs.checks import check_results
from mrf_assets.defs.freshness import freshness_result
from mrf_assets.defs.partitions import NETWORK_PARTITIONS
from mrf_assets.defs.printable_metadata import failure
from mrf_assets.defs.processes import end_with_run
from mrf_assets.defs.reported_checks import report_results
from mrf_assets.defs.resources import Ingestor
from mrf_assets.errors import MrfError


def audit_job(fresh_days: int) -> dg.JobDefinition:
    """The job; a partition is a network."""

    @dg.op(name="audit_network", pool=POOL)
    def audit_network(context: dg.OpExecutionContext, ingestor: Ingestor) -> None:
        """Apply every rule to the published tables of a network, and report what each found."""
        end_with_run(context)
        network_id = context.partition_key
        try:
            by_period = ingestor.audit(network_id)
        except MrfError as error:
            raise failure(error) from None
        results = [*check_results(by_period), freshness_result(network_id, ingestor, fresh_days)]
        report_results(context, results, network_id)

    @dg.job(
        name="audit",
        partitions_def=NETWORK_PARTITIONS,
        description="Apply every rule to what is published, without reading a source again.",
    )
    def audit() -> None:
        audit_network()

    return audit
