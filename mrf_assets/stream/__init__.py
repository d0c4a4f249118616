"""Bytes of a file -> decompressed blocks -> JSON events.

zip           members of a zip, without seeking
decompress    what a file is, by its first bytes, and its decompressed blocks
surrogates    lone surrogates in JSON, replaced
yajl_errors   where yajl says that the JSON is wrong
json_events   events of an index
json_offsets  events with their byte offsets
"""
