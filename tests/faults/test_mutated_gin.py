"""The short form of `mutated_gin`; SWITCH_ZOO_FAULTS=500 in the environment makes it that long."""

import os

import mutated_gin


def test_every_damaged_setting_is_accepted_or_refused_in_one_paragraph():
  counts, wrong = mutated_gin.run(int(os.environ.get('SWITCH_ZOO_FAULTS', '60')), seed=17)
  assert not wrong, '\n'.join(wrong)
  assert set(counts) == {'accepted', 'refused'} and min(counts.values()) > sum(counts.values()) / 20
