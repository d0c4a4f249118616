"""How a batch went: values, made of what its runs recorded.

statistics   counts, times and bytes
budget       what a batch may cost
manifest     the manifest file
"""
