"""Token ids with a meaning, as the vocabularies of T5 and Switch have them. Source: arXiv:1910.10683, section 2.4.

A converted model may end its answers with another id (ModelConfig.end_id). Padding is 0 everywhere, and it is also what
the decoder reads first.
"""

PADDING = 0
END = 1
UNKNOWN = 2
# The first id that represents text.
FIRST_PIECE = 3
# Placeholders of span corruption, `<extra_id_0>` to `<extra_id_99>`: the last ids, `<extra_id_0>` the very last.
NUM_SENTINELS = 100
