"""Token ids with a fixed meaning in every vocabulary of T5 and Switch. Source: arXiv:1910.10683, section 2.4."""

PADDING = 0
END = 1
UNKNOWN = 2
# The first id that represents text.
FIRST_PIECE = 3
# Placeholders of span corruption, `<extra_id_0>` to `<extra_id_99>`: the last ids, `<extra_id_0>` the very last.
NUM_SENTINELS = 100
