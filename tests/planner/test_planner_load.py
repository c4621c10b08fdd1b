"""A measured load, by hand."""

import json

import pytest

from switch_zoo import load_config
from switch_zoo.errors import UserError
from switch_zoo.planner import hardware, load, search
from switch_zoo.spec import layouts

LENGTHS = {'inputs': 64, 'targets': 32}
TOKENS = [40, 20, 10, 10, 10, 10, 0, 0]


@pytest.fixture(scope='module')
def config():
  return load_config('switch_base_8')


@pytest.fixture(scope='module')
def plan(config):
  layout = layouts.parse('outer:2;batch:4', 'outer_batch:outer;batch:batch;experts:batch', 2)
  return search.Judge(config, hardware.slice_named('v3-8'), 8, LENGTHS).judge(layout)


def test_tokens_dropped_and_slots_filled_by_hand(config, plan):
  """A core has one sequence and two experts: 64 tokens, and int(64 * 1.25 / 8) = 10 slots of each expert.

  40 percent of 64 tokens are 25.6, of which 10 find a slot; 20 percent are 12.8, 10 find one; 10 percent are 6.4.
  """
  assert config.capacity_factor_train == 1.25 and plan.microbatches == 1
  one = load.balance([tokens / 100 for tokens in TOKENS], plan, config, LENGTHS)['inputs']
  assert one.dropped == pytest.approx((15.6 + 2.8) / 64)
  assert one.filled == pytest.approx((20 + 4 * 6.4) / 80)
  assert (one.fullest, one.emptiest) == (pytest.approx(1.0), 0.0)
  assert one.enough == pytest.approx(0.4 * 8)


def test_a_balanced_load_drops_nothing(config, plan):
  for one in load.balance([1 / 8] * 8, plan, config, LENGTHS).values():
    assert one.dropped == pytest.approx(0) and one.enough == 1 and one.fullest == one.emptiest


def test_experts_that_are_whole_on_each_core_fill_all_cores_alike(config):
  judge = search.Judge(config, hardware.slice_named('v3-8'), 8, LENGTHS)
  plan = judge.judge(layouts.parse('batch:8', 'batch:batch'))
  one = load.balance([tokens / 100 for tokens in TOKENS], plan, config, LENGTHS)['inputs']
  assert one.fullest == one.emptiest == one.filled


@pytest.mark.parametrize('text', [json.dumps(TOKENS), ' '.join(map(str, TOKENS)), '\n'.join(map(str, TOKENS))])
def test_a_file_of_numbers(text, config, tmp_path):
  path = tmp_path / 'load'
  path.write_text(text)
  assert load.read(str(path), config) == [tokens / 100 for tokens in TOKENS]


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('1 2 3', 'has 3 numbers, and switch_base_8 has 8 experts'),
    ('', 'has 0 numbers'),
    ('[1, 2', 'Give one number for each expert'),
    ('1 2 3 4 5 6 7 many', 'Give one number for each expert'),
    ('[[1, 2], 3]', 'Give one number for each expert'),
    ('1 2 3 4 5 6 7 -8', '0 or more'),
    ('1 2 3 4 5 6 7 nan', '0 or more'),
    ('0 0 0 0 0 0 0 0', 'not 0 for all'),
  ],
)
def test_a_file_that_is_not_a_load(text, message, config, tmp_path):
  path = tmp_path / 'load'
  path.write_text(text)
  with pytest.raises(UserError, match=message):
    load.read(str(path), config)
