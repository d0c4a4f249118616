"""The fast reader: brackets first, values only where they are wanted.

Each module is a step further from the bytes:

    scanner          where the brackets outside of strings are (numpy)
    splitter         blocks -> brackets one after the other, and the text between them
    spans            spans of bytes, and which of them are equal
    exact            a piece of JSON -> the values that the oracle sees
    numbers          rates out of text: plain ones all at once, each other spelling once
    npis             the same for lists of NPIs
    elements         text of items -> elements, prices, rates, by position
    memo             a spelling -> what it means, learnt once
    price_memo       the same for prices
    columns          ids and numbers -> record batches
    rates            text of items -> rows of rates
    provider_groups  text of plain groups -> rows of providers
    providers        text of provider references -> rows
    items            items that stand in one block, many at a time
    held_item        one item until its end is seen
    item_reader      brackets -> the text of wanted items
    reader           the document: blocks in, record batches out
"""
