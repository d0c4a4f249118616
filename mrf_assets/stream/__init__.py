"""Bytes of a file -> decompressed blocks -> JSON events.

raw_file      a file that `fetch` has opened
zip           members of a zip, without seeking
decompress    what a file is, by its first bytes, and its decompressed blocks
read_ahead    the same blocks, made by a thread while the ones before them are read
surrogates    lone surrogates in JSON, replaced
yajl_errors   where yajl says that the JSON is wrong
json_events   events of an index
json_offsets  events of any file, with their byte offsets
"""
