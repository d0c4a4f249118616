"""Network ids: every naming family, what never enters an id, and how sets are kept apart."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import SettingError
from mrf_assets.network_id import (
    FALLBACK_RULES,
    KEY_PATTERN,
    RULE_SET_VERSION,
    Assignment,
    assign_keys,
    explicit_identity,
    identify,
    partition_key,
)
from mrf_assets.urls import canonical_url

AETNA = "https://mrf.healthsparq.com/aetnacvs-egress.nophi.kyruushsq.com/prd/mrf/AETNACVS_I"
ANTHEM = "https://antm-pt-prod-dataz-nogbd-nophi-us-east1.s3.amazonaws.com/anthem"
BCBSNC = "https://bcbsnc.mrf.bcbs.com"
BCBSIN = "https://anthembcbsin.mrf.bcbs.com"
UHC = "https://mrfstorageprod.blob.core.windows.net/public-mrf/2025-08-01"
KAISER = "https://healthy.kaiserpermanente.org/pricing/innetwork"
HUMANA = "https://developers.humana.com/Resource/DownloadPCTFile?fileType=innetwork&fileName="
UUID = "1159c83f-f4b8-403d-aa56-ddab2b0bc8ad"
SHA = "7cc37" + "0" * 54 + "ccc2f"

EXAMPLES = [
    # address, rule, key, period, part, parts
    (f"{BCBSNC}/2022-08_302_42A0_in-network-rates_9_of_225.json.gz", "bcbsa", "bcbsa~302_42a0", "2022-08", 9, 225),
    (f"{BCBSNC}/url/2022-08_320_33B0_in-network-rates_07_of_10.json.gz", "bcbsa", "bcbsa~320_33b0", "2022-08", 7, 10),
    (f"{BCBSIN}/2022-08_400_59C0_in-network-rates.json.gz", "bcbsa", "bcbsa~400_59c0", "2022-08", 1, 1),
    (
        f"{AETNA}/ALICSI/2026-08-05/inNetworkRates/2026-08-05_pl-4yj-hr23_Aetna-Life-Insurance-Company.json.gz",
        "healthsparq_pl",
        "aetnacvs~pl-4yj-hr23",
        "2026-08",
        1,
        1,
    ),
    (
        f"{AETNA}/ASA/2026-07-05/inNetworkRates/2026-07-05_pl-xp-tr18_Aetna-Signature-Administrators.json.gz",
        "healthsparq_pl",
        "aetnacvs~pl-xp-tr18",
        "2026-07",
        1,
        1,
    ),
    (
        f"{AETNA}/ALICSI/2026-06-05/inNetworkRates/2026-06-05_pl-4el-tr25_Aetna-Life-Insurance-Company.json.gz",
        "healthsparq_pl",
        "aetnacvs~pl-4el-tr25",
        "2026-06",
        1,
        1,
    ),
    (
        f"{AETNA}/ALICSI/2022-08-05/inNetworkRates/2022-09-05_{UUID}_Aetna-Life-Insurance-Company.json.gz",
        "healthsparq_uuid",
        f"aetnacvs~{UUID}",
        "2022-09",
        1,
        1,
    ),
    (f"{ANTHEM}/NY_HYPAMED0000.json.gz", "anthem_s3", "anthem~ny_hypamed0000", None, 1, 1),
    (f"{ANTHEM}/NY_GZHYMEDAP36.json.gz", "anthem_s3", "anthem~ny_gzhymedap36", None, 1, 1),
    (f"{ANTHEM}/NY_HYPAMED0000_0_5.json.gz", "anthem_s3", "anthem~ny_hypamed0000", None, 1, 5),
    (f"{ANTHEM}/CA_AHPNMED0000_01_04.json.gz", "anthem_s3", "anthem~ca_ahpnmed0000", None, 2, 4),
    (
        f"{UHC}/2025-08-01_UHC-of-California_Insurer_UHC---Embedded-Vision_UHC-Vision_in-network-rates.json.gz",
        "uhc",
        "uhc-of-california_insurer~uhc---embedded-vision_uhc-vision",
        "2025-08",
        1,
        1,
    ),
    (
        f"{UHC}/2025-08-01_Oxford-Health-Plans-LLC_Third-Party-Administrator_CMC_CRS_MRRF_in-network-rates.json.gz",
        "uhc",
        "oxford-health-plans-llc_third-party-administrator~cmc_crs_mrrf",
        "2025-08",
        1,
        1,
    ),
    (
        "https://x.cloudfront.net/mrf/2024-08-01_cigna-health-life-insurance-company_national-oap_in-network-rates.json.gz",
        "cms",
        "cigna-health-life-insurance-company~national-oap",
        "2024-08",
        1,
        1,
    ),
    (
        "https://example.org/2026-03-01_ameriben_hd_supply_inc_in-network-rates.zip",
        "cms",
        "ameriben~hd_supply_inc",
        "2026-03",
        1,
        1,
    ),
    (
        f"{KAISER}/ga/2022-08-01_SELF-FUNDED_GA-COMMERCIAL_in-network-rates.zip",
        "cms",
        "kaiser~self-funded_ga-commercial",
        "2022-08",
        1,
        1,
    ),
    (
        f"{KAISER}/wa/2022-07-01_KPWA_FILE_00004.json.zip",
        "shard",
        "healthy.kaiserpermanente.org~kpwa_file",
        "2022-07",
        4,
        4,
    ),
    (
        f"{HUMANA}2022-08-25_1_in-network-rates_000000000100.csv.gz",
        "shard",
        "developers.humana.com~1_in-network-rates",
        "2022-08",
        101,
        101,
    ),
    (
        "https://mrf.healthsparq.com/premera-egress.nophi.kyruushsq.com/prd/mrf/LIFEWISE_I/x/2026-08-05/Heritage.json.gz",
        "stem",
        "premera~heritage",
        "2026-08",
        1,
        1,
    ),
    (
        "https://x.sapphiremrfhub.com/mrfs/202608/FAC_PPO.json.gz",
        "stem",
        "x.sapphiremrfhub.com~fac_ppo",
        "2026-08",
        1,
        1,
    ),
    (
        "https://saticprod.blob.core.windows.net/CMC_RRS.json",
        "stem",
        "saticprod.blob.core.windows.net~cmc_rrs",
        None,
        1,
        1,
    ),
    ("https://h.example/PRD_20240801_ppo_1_of_2.json.gz", "stem", "h.example~ppo", "2024-08", 1, 2),
    ("https://h.example/ppo_2024-08-01.json.gz", "stem", "h.example~ppo", "2024-08", 1, 1),
    ("https://h.example/2024-08-01/in-network-rates.json.gz", "url", "h.example~u-66a55e5052ea", "2024-08", 1, 1),
    ("/data/ppo.json.gz", "stem", "local~ppo", None, 1, 1),
]


@pytest.fixture(scope="module")
def published_urls(samples: Path) -> list[str]:
    """Real addresses of several payers; they are not part of this repository."""
    path = samples / "urls.txt"
    if not path.exists():
        pytest.skip(f"no list of real addresses at {path}")
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def assign(*urls: str) -> dict[str, Assignment]:
    """Name a set of addresses."""
    return assign_keys({canonical_url(url): identify(url) for url in urls})


@pytest.mark.parametrize(("url", "expected"), [(example[0], example[1:]) for example in EXAMPLES])
def test_published_names_are_understood(url: str, expected: tuple[str, str, str | None, int, int]) -> None:
    """Every naming convention that is documented gives the documented key, period and part."""
    found = identify(url)

    assert expected == (found.rule, partition_key(found), found.period, found.part, found.parts)


def test_rule_set_version_goes_with_every_identity() -> None:
    """A key can be traced to the rules that made it."""
    assert RULE_SET_VERSION == identify("https://h.example/x.json").rule_version


# --- identity -------------------------------------------------------------------------------


def test_signature_never_enters_an_identity() -> None:
    """A CloudFront signature that expires changes nothing."""
    bare = f"{BCBSNC}/2022-08_040_05C0_in-network-rates_5_of_25.json.gz"

    assert identify(bare) == identify(f"{bare}?&Expires=1663610301&Signature=abc&Key-Pair-Id=K")


def test_month_never_enters_an_identity() -> None:
    """Next month's file of a network has the same key and another period."""
    july, august = (
        identify(f"https://h.example/20{it}-01_acme_ppo_in-network-rates.json") for it in ("26-07", "26-08")
    )

    assert partition_key(july) == partition_key(august)
    assert ("2026-07", "2026-08") == (july.period, august.period)


def test_address_fallback_survives_the_month() -> None:
    """A name that says nothing is known by its folders without their dates."""
    july = identify("https://h.example/acme/2026-07/in-network-rates.json.gz?token=a")
    august = identify("https://h.example/acme/2026-08/in-network-rates.json.gz?token=b")
    other = identify("https://h.example/zeta/2026-08/in-network-rates.json.gz")

    assert july.raw_id == august.raw_id
    assert other.raw_id != august.raw_id


def test_parts_of_a_nameless_network_share_its_key() -> None:
    """The part is taken off before the address is hashed."""
    first, second = (identify(f"https://h.example/acme/in-network-rates_{part}_of_2.json.gz") for part in (1, 2))

    assert partition_key(first) == partition_key(second)


def test_content_hash_in_the_name_is_the_variant() -> None:
    """Aetna puts a SHA-256 behind some ids; it is kept, but not as part of the id."""
    found = identify(f"{AETNA}/ALICSI/2026-08-05/inNetworkRates/2026-08-05_pl-53b-hr23-{SHA}_Aetna-Life.json.gz")

    assert ("pl-53b-hr23", SHA) == (found.raw_id, found.variant)


def test_pl_id_is_known_without_its_host() -> None:
    """A downloaded Aetna file keeps its id; only the tenant is lost."""
    assert "healthsparq~pl-4yj-hr23" == partition_key(identify("/data/2026-08-05_pl-4yj-hr23_Aetna.json.gz"))


def test_stranger_s_pl_prefix_is_no_aetna_id() -> None:
    """`pl-` without the hr23-like tail counts only on a HealthSparq address."""
    assert "stem" == identify("https://h.example/pl-gold_2026.json").rule


def test_stranger_s_uuid_is_no_network() -> None:
    """Two files with one UUID on an unknown host may be two networks of one employer."""
    dental, medical = (f"https://h.example/{UUID}_{kind}.json.gz" for kind in ("dental", "medical"))

    assert 2 == len({it.network_id for it in assign(dental, medical).values()})


def test_plan_number_is_no_date() -> None:
    """Six digits like 200112 inside a name may be a plan's number and stay in the id."""
    assert "acme_200112" == identify("https://h.example/acme_200112.json").raw_id


def test_part_beyond_the_total_stays_in_the_name() -> None:
    """`_7_of_3` is no part; taking it off would merge two files."""
    found = identify("https://h.example/acme_7_of_3.json")

    assert ("acme_7_of_3", 1, 1) == (found.raw_id, found.part, found.parts)


def test_suffixes_come_off_repeatedly() -> None:
    """`.json.gz.zip` is a container in a container, not a network."""
    assert (
        identify("https://h.example/acme.json").raw_id == identify("https://h.example/ACME.JSON.gz.zip").raw_id.lower()
    )


def test_nearest_date_folder_gives_the_period() -> None:
    """Where the name has no date, the deepest folder that is one tells the month."""
    assert "2026-08" == identify("https://h.example/2025-01-01/mrf/202608/acme.json").period


# --- keys -----------------------------------------------------------------------------------


def test_replaced_character_brings_the_hash() -> None:
    """`a b` and `a_b` would share a key otherwise."""
    spaced, plain = (identify(f"https://h.example/acme{it}ppo.json") for it in ("%20", "_"))

    assert "h.example~acme_ppo" == partition_key(plain)
    assert partition_key(spaced).startswith("h.example~acme_ppo~h")


def test_hyphens_are_not_collapsed() -> None:
    """`PPO---NDC` and `PPO-NDC` are two UnitedHealthcare labels."""
    names = [
        f"{UHC}/2025-08-01_X_Insurer_{label}_PPO-NDC_in-network-rates.json.gz" for label in ("PPO---NDC", "PPO-NDC")
    ]

    assert 2 == len({partition_key(identify(name)) for name in names})


def test_long_ids_that_begin_alike_keep_their_own_keys() -> None:
    """The end that is cut off is hashed."""
    one, two = (partition_key(identify(f"https://h.example/{'a' * 200}{it}.json")) for it in "12")

    assert one != two
    assert 120 == len(one) == len(two)


def test_dots_never_run_together() -> None:
    """Dagster reads `a...b` as a range of partitions."""
    assert ".." not in partition_key(identify("https://h.example/acme...ppo.json"))


# --- explicit ids ---------------------------------------------------------------------------


def test_explicit_id_wins_and_keeps_period_and_part() -> None:
    """What the user says about the network says nothing about month and part."""
    found = explicit_identity(f"{BCBSNC}/2022-08_302_42A0_in-network-rates_9_of_225.json.gz", "My-PPO")

    assert "my-ppo" == partition_key(found)
    assert ("explicit", "2022-08", 9, 225) == (found.rule, found.period, found.part, found.parts)


@pytest.mark.parametrize("unsafe", ["../../etc", "a/b", "a'b; DROP TABLE", "PPO Gold", "é", "-rf", "x" * 300, "a...b"])
def test_explicit_id_is_made_safe(unsafe: str) -> None:
    """An id that cannot be a folder or a literal becomes one, with a hash of what was meant."""
    key = partition_key(explicit_identity("https://h.example/x.json", unsafe))

    assert KEY_PATTERN.match(key)
    assert "~h" in key


def test_blank_explicit_id_is_refused() -> None:
    """A blank id is a mistake in a script, not a name."""
    with pytest.raises(SettingError, match="network_id: is blank"):
        explicit_identity("https://h.example/x.json", " ")


def test_explicit_id_keeps_several_files_in_one_network() -> None:
    """The user says that they belong together, so they are neither mirrors nor a collision."""
    urls = ["https://h.example/a/x.json", "https://h.example/b/x.json"]
    assigned = assign_keys({url: explicit_identity(url, "mine") for url in urls})

    assert [("mine", None), ("mine", None)] == [(it.network_id, it.mirror_of) for it in assigned.values()]


def test_explicit_id_joins_the_network_of_that_key() -> None:
    """A key copied from an earlier run puts a file beside the network's other parts."""
    known = f"{BCBSNC}/2022-08_302_42A0_in-network-rates_1_of_2.json.gz"
    extra = "https://h.example/repaired_2_of_2.json.gz"
    assigned = assign_keys({known: identify(known), extra: explicit_identity(extra, "bcbsa~302_42a0")})

    assert {"bcbsa~302_42a0"} == {it.network_id for it in assigned.values()}


# --- sets -----------------------------------------------------------------------------------


def test_same_name_on_two_licensees_hosts_is_one_file() -> None:
    """BCBSA names are unique, so the first address is read and the other recorded."""
    name = "2022-08_302_42A0_in-network-rates_9_of_225.json.gz"
    assigned = assign(f"{BCBSNC}/{name}?Signature=x", f"{BCBSIN}/url/{name}")

    assert (f"{BCBSNC}/{name}",) == assigned[f"{BCBSIN}/url/{name}"].mirror_urls
    assert f"{BCBSIN}/url/{name}" == assigned[f"{BCBSNC}/{name}"].mirror_of


def test_same_id_under_two_brands_is_one_file() -> None:
    """Brand and legal entity are labels: Aetna publishes the same rates under several."""
    assigned = assign(
        f"{AETNA}/ALICSI/2026-08-05/inNetworkRates/2026-08-05_pl-4yj-hr23_Aetna-Life-Insurance-Company.json.gz",
        f"{AETNA}/ALICFI/2026-08-05/inNetworkRates/2026-08-05_pl-4yj-hr23_Aetna-Health-Inc.json.gz",
    )

    assert ["aetnacvs~pl-4yj-hr23"] * 2 == [it.network_id for it in assigned.values()]
    assert [False, True] == sorted(it.mirror_of is not None for it in assigned.values())


def test_two_days_of_publication_are_no_mirrors() -> None:
    """A correction in the same month must not be dropped for the older file."""
    assigned = assign(
        *(f"{AETNA}/A/2026-08-{it}/inNetworkRates/2026-08-{it}_pl-4yj-hr23_A.json.gz" for it in ("05", "20"))
    )

    assert 2 == len({it.network_id for it in assigned.values()})
    assert [None, None] == [it.mirror_of for it in assigned.values()]


def test_two_variants_in_a_month_are_two_networks() -> None:
    """Different content hashes are different contents."""
    folder = f"{AETNA}/A/2026-08-05/inNetworkRates/2026-08-05_pl-53b-hr23"
    assigned = assign(f"{folder}-{'a' * 64}_A.json.gz", f"{folder}-{'b' * 64}_A.json.gz")

    assert 2 == len({it.network_id for it in assigned.values()})


def test_variant_may_change_with_the_month() -> None:
    """A content hash that follows the content does not split the network's periods."""
    assigned = assign(
        *(f"{AETNA}/A/x/2026-0{it}-05_pl-53b-hr23-{str(it) * 64}_A.json.gz" for it in (7, 8)),
    )

    assert {"aetnacvs~pl-53b-hr23"} == {it.network_id for it in assigned.values()}


def test_same_name_in_two_folders_is_two_networks() -> None:
    """Where ids are the publisher's own, nothing is merged: both get a hash of their folder."""
    keys = {it.network_id for it in assign("https://h.example/a/ppo.json", "https://h.example/b/ppo.json").values()}

    assert 2 == len(keys)
    assert all(key.startswith("h.example~ppo~h") for key in keys)


def test_collision_in_one_part_renames_the_whole_network() -> None:
    """Parts stay together even if only one of them collides."""
    keys = {
        url: it.network_id
        for url, it in assign(
            "https://h.example/a/ppo_1_of_2.json",
            "https://h.example/a/ppo_2_of_2.json",
            "https://h.example/b/ppo_1_of_2.json",
        ).items()
    }

    assert keys["https://h.example/a/ppo_1_of_2.json"] == keys["https://h.example/a/ppo_2_of_2.json"]
    assert 2 == len(set(keys.values()))


def test_collision_names_survive_the_month() -> None:
    """The hash is made from the folders without their dates."""
    july, august = (
        assign(*(f"https://h.example/{folder}/2026-{month}-01/ppo.json" for folder in "ab")) for month in ("07", "08")
    )

    assert [it.network_id for it in july.values()] == [it.network_id for it in august.values()]


def test_two_containers_in_one_folder_are_kept_apart() -> None:
    """`ppo.json` and `ppo.json.gz` may differ; both are read."""
    assigned = assign("https://h.example/ppo.json", "https://h.example/ppo.json.gz")

    assert 2 == len({it.network_id for it in assigned.values()})


def test_ids_that_differ_in_case_get_the_hash() -> None:
    """Keys are lower case, so letter case alone is decided by the set."""
    keys = {it.network_id for it in assign("https://h.example/PPO.json", "https://h.example/ppo.json").values()}

    assert 2 == len(keys)
    assert all(key.startswith("h.example~ppo~h") for key in keys)


def test_two_complete_sets_in_a_month_stay_in_one_network() -> None:
    """BCBSA 161_21Q0 came in 5 and in 15 parts: the number of parts belongs to the file."""
    names = [f"2022-08_161_21Q0_in-network-rates_1_of_{total}.json.gz" for total in (5, 15)]
    assigned = assign(*(f"{BCBSNC}/{name}" for name in names))

    assert {("bcbsa~161_21q0", None)} == {(it.network_id, it.mirror_of) for it in assigned.values()}


def test_shards_learn_their_number_from_the_set() -> None:
    """Nobody publishes how many shards there are; the highest number seen is the least."""
    assigned = assign(*(f"{KAISER}/wa/2022-07-01_KPWA_FILE_000{it:02}.json.zip" for it in (4, 17)))

    assert [(4, 17), (17, 17)] == [(it.identity.part, it.identity.parts) for it in assigned.values()]


def test_period_from_elsewhere_prevents_a_collision() -> None:
    """A period that the user gives counts as if the name had told it."""
    a, b = "https://h.example/a/ppo.json", "https://h.example/b/ppo.json"
    assigned = assign_keys({a: replace(identify(a), period="2026-07"), b: replace(identify(b), period="2026-08")})

    assert {"h.example~ppo"} == {it.network_id for it in assigned.values()}


# --- real addresses -------------------------------------------------------------------------


def test_published_addresses_get_safe_keys(published_urls: list[str]) -> None:
    """Every real address has a key that is safe everywhere."""
    assert [] == [url for url in published_urls if not KEY_PATTERN.match(partition_key(identify(url)))]


def test_published_rate_files_follow_a_known_convention(published_urls: list[str]) -> None:
    """Real in-network names of the payers sampled need no fallback."""
    unknown = {url for url in published_urls if "in-network-rates" in url and identify(url).rule in FALLBACK_RULES}

    assert set() == unknown


def test_published_networks_are_neither_merged_nor_renamed(published_urls: list[str]) -> None:
    """One key per network and one network per key, and no hash but where a name is too long."""
    assigned = assign(*published_urls)
    by_key = {it.network_id: (it.identity.scope, it.identity.raw_id) for it in assigned.values()}

    assert len(by_key) == len({(it.identity.scope, it.identity.raw_id) for it in assigned.values()})
    assert [] == [key for key in by_key if re.search(r"~h[0-9a-f]{8}\Z", key) and len(key) < 120]


def test_published_bcbs_networks_span_hosts(published_urls: list[str]) -> None:
    """The same networks are on both licensees' hosts, under one key each."""
    hosts: dict[str, set[str]] = {}
    for url, it in assign(*published_urls).items():
        hosts.setdefault(it.network_id, set()).add(url.split("/")[2])

    assert {"bcbsnc.mrf.bcbs.com", "anthembcbsin.mrf.bcbs.com"} == hosts["bcbsa~302_42a0"]


# --- properties -----------------------------------------------------------------------------

NAMES = st.one_of(
    st.text(max_size=80),
    st.text("aAbB._-~= %/é'\"\n0123456789", max_size=200),
    st.builds(
        "{}_{}_in-network-rates{}.json.gz".format,
        st.sampled_from(["2026-08-01", "2026-07", "302", "UMR--Inc-_Insurer", "KFHP"]),
        st.text("aAbB-_0", min_size=1, max_size=12),
        st.sampled_from(["", "_1_of_2", "_2_of_2", "_000000000007"]),
    ),
)
BASES = st.sampled_from(
    ["https://a.example/", "http://B.example:8080/x/2026-08/", f"{AETNA}/X/", "/data/", "file:///d/", ""]
)
URLS = st.builds("{}{}".format, BASES, NAMES)
SIGNATURES = st.sampled_from(
    ["Expires=1&Signature=s&Key-Pair-Id=k", "sig=a&se=b&sp=r", "X-Amz-Signature=f&X-Amz-Date=20260801"]
)


@given(URLS)
def test_every_text_has_a_safe_key(url: str) -> None:
    """Whatever stands in an index, the key is safe and never empty, and so is its form as an explicit id."""
    key = partition_key(identify(url))

    assert KEY_PATTERN.match(key)
    assert key == partition_key(explicit_identity(url, key))


@given(st.text(min_size=1).filter(str.strip))
def test_every_explicit_id_has_a_safe_key(network_id: str) -> None:
    """Whatever a user calls a network, the key is safe."""
    assert KEY_PATTERN.match(partition_key(explicit_identity("https://h.example/x.json", network_id)))


@given(NAMES.filter(lambda it: it == it.strip() and not set(it) & set("?#")), SIGNATURES)
def test_no_signature_changes_an_identity(name: str, signature: str) -> None:
    """The parameters that payers sign with are nowhere in an identity."""
    url = f"https://h.example/{name}"

    assert identify(url) == identify(f"{url}?{signature}")


@given(
    st.from_regex(r"\A[0-9]{3}_[0-9]{2}[A-Z][0-9]\Z"),
    st.from_regex(r"\A[a-z]{1,20}\.(mrf\.bcbs\.com|example)/(url/)?\Z"),
)
def test_no_host_changes_a_bcbsa_identity(network: str, host: str) -> None:
    """Any licensee's host gives the same network."""
    name = f"2026-08_{network}_in-network-rates_2_of_9.json.gz"

    assert identify(f"{BCBSNC}/{name}") == identify(f"https://{host}{name}")


@given(st.lists(URLS, max_size=12), st.randoms(use_true_random=False))
def test_order_changes_no_key(urls: list[str], dice: random.Random) -> None:
    """A set of files gets the same keys and mirrors in any order."""
    shuffled = dice.sample(urls, len(urls))

    assert assign(*urls) == assign(*shuffled)


@given(st.lists(URLS, max_size=12))
def test_different_ids_never_share_a_key(urls: list[str]) -> None:
    """Nothing is merged that is not the same."""
    ids: dict[str, set[tuple[str, str]]] = {}
    for it in assign(*urls).values():
        ids.setdefault(it.network_id, set()).add((it.identity.scope, it.identity.raw_id))

    assert [] == [found for found in ids.values() if len(found) > 1]


@given(st.lists(URLS, max_size=12))
def test_every_file_is_read_or_is_a_mirror_of_one_that_is(urls: list[str]) -> None:
    """Nothing is lost: places in a network are taken once, and mirrors point to what is read."""
    assigned = assign(*urls)
    read = [
        (it.network_id, it.identity.period, it.identity.part, url) for url, it in assigned.items() if not it.mirror_of
    ]

    assert len(read) + sum(len(it.mirror_urls) for it in assigned.values()) == len(assigned)
    assert all(assigned[it.mirror_of].mirror_of is None for it in assigned.values() if it.mirror_of)


@given(st.lists(URLS, max_size=12))
def test_groups_of_equal_keys_may_be_named_one_by_one(urls: list[str]) -> None:
    """A set too large for memory can be given key by key."""
    whole = assign(*urls)
    for key in {partition_key(identify(url)) for url in urls}:
        group = [url for url in urls if partition_key(identify(url)) == key]
        for url, it in assign(*group).items():
            assert whole[url] == it
