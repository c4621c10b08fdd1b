"""The short form of `mutated_rows`; SWITCH_ZOO_FAULTS=2000 in the environment makes it that long."""

import os

import mutated_rows


def test_every_damaged_row_is_read_or_reported():
  counts, wrong = mutated_rows.run(int(os.environ.get('SWITCH_ZOO_FAULTS', '150')), seed=17)
  assert not wrong, '\n'.join(wrong)
  assert set(counts) == {'read', 'an error'} and min(counts.values()) > sum(counts.values()) / 20
