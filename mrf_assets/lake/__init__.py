"""From record batches to published parquet, and the DuckDB views over it.

part_writer       record batches -> the parquet files of one part
generations       publications one after another, without mixing two of them for a reader
set_tins          which TINs have the prices of a provider set
publish           what one run is about to publish, and the one step that shows it
store             the output folder: whose turn it is, what is published, what is removed
reference_tables  tables of no single network, such as the registry of providers
duckdb_paths      paths as DuckDB takes them
view              what a view is, and the columns that all of them share
price_columns     what a price is and what it is for
contract_rates    prices by contract, one vote each
comparability     which contracts are comparable, and what they say
refusal           the sentences where a statistic says nothing
best_rates        the price to quote
fences            which dollars are far from their kind
views             the SQL of the other views, and the list of all
dimensions        views of TINs, network names and inner codes
network_contents  when two networks are the same
network_details   whose the networks are, and what is known of each; payers.csv
layouts           files of any layout -> SQL with today's columns
catalog           a connection, or a file, with the views
queries           questions that are shipped as SQL
hints             near names for networks and codes that nobody published
data_dictionary   every column and view, as a page
"""
