"""The reader that is obviously right: the oracle of every faster one.

cursor   events -> members, elements, values
waiting  what one item keeps until its end is seen
reader   the document: events in, record batches out
"""
