"""The fast reader: brackets first, values only where they are wanted.

Each module is a step further from the bytes:

    splitter         blocks -> brackets outside of strings (numpy)
    spans            spans of bytes, and which of them are equal
    numbers          plain rates out of text, all at once
    npis             the same for lists of NPIs
    exact            a piece of JSON -> the values that the oracle sees
    elements         text of items -> elements, prices, rates, by position
    memo             spelling -> what it means, learnt once
    columns          ids and numbers -> record batches
    rates            text of items -> rows of rates
    provider_groups  text of plain groups -> rows of providers
    providers        text of provider references -> rows
    items            items that stand in one block, many at a time
    held_item        one item until its end is seen
    reader           the document: blocks in, record batches out
"""
