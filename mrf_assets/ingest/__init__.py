"""One network: fetch, extract, audit, publish.

plan              the tasks of a batch on disk
results           what a network and its files gave, and how far a file is
unchanged         whether what is published is of the very files that are there now
renewal           a newer link where a signed one has expired
provider_filter   what the wanted TINs keep
part              one file: fetch it, read it, filter it, stage it
parallel          the files of a network side by side, in processes
pipeline          all of it, for one network
published_prices  what whitelists would keep of what is published
"""
