"""When a statistic is sound: how many contracts it needs, and what it refuses."""

from __future__ import annotations

from mrf_assets.settings.model import SettingsModel, setting

RULE_VERSION = "1"  # of the gates and sentences; raise it when they change


class StatisticRules(SettingsModel):
    """Statistics.

    The least numbers follow from order statistics, whatever the distribution: of 6 values the median lies between the
    lowest and the highest with 97 % (1 - 2 * 0.5^6), of 11 a quarter of the market lies below their p25 with 95 %
    (0.75^11 < 0.05), of 29 a tenth below their p10 (0.9^29 < 0.05). Bounds of DRGs are Turquoise Health's. The other
    numbers are judgement, to be calibrated on your data.
    """

    min_contracts: int = setting(6, "Contracts that a median needs.", ge=1)
    min_contracts_of_quartiles: int = setting(11, "Contracts that p25 and p75 need.", ge=1)
    min_contracts_of_tails: int = setting(29, "Contracts that p10 and p90 need.", ge=1)
    min_networks: int = setting(3, "Networks of different contents that a comparison needs.", ge=2)
    min_comparable_share: float = setting(
        0.05, "Share of a code's contracts that must be comparable for a median.", ge=0, le=1
    )
    one_schedule_share: float = setting(
        0.8, "Share of the contracts from which on one amount is called a schedule, not a distribution.", gt=0, le=1
    )
    wide_spread: float = setting(3.0, "p75 / p25 from which on a median comes with a caution.", ge=1)
    max_spread: float = setting(10.0, "p75 / p25 above which a median is refused.", ge=1)
    dominant_share: float = setting(
        0.5, "Share of the NPIs from which on one contract is said to dominate a statistic.", gt=0, le=1
    )
    same_amount_ratio: float = setting(
        1.1, "Highest to lowest amount of a contract that still counts as one amount.", ge=1
    )
    same_facility_amount_ratio: float = setting(1.25, "The same for outpatient prices.", ge=1)
    expired_months: int = setting(
        12, "Months since the expiration date after which a price is left out; payers renew by themselves.", ge=0
    )
    fence_contracts: int = setting(
        40, "Contracts from which on amounts far from all others are left out (log scale).", ge=4
    )
    base_rate_codes: int = setting(
        100, "DRGs of one contract with one amount, above which that is a base rate and no price of a case.", ge=1
    )
    min_drg_dollars: float = setting(1_500.0, "Dollars below which no DRG is believed.", ge=0)
    max_drg_dollars: float = setting(500_000.0, "Dollars above which no DRG is believed.", ge=0)
    max_months_apart: int = setting(4, "Months between two periods above which they are not compared.", ge=1)

    @property
    def version(self) -> str:
        """The version of the rules, and what of them is not the default."""
        changes = [
            f"{name}={getattr(self, name):g}"
            for name, field in StatisticRules.model_fields.items()
            if getattr(self, name) != field.default
        ]
        return " ".join([RULE_VERSION, *changes])
