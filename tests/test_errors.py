import pytest

from switch_zoo.errors import UserError, did_you_mean, from_tensorflow, paragraph

NAMES = ['switch_base_8', 'switch_base_16', 't5_base', 'train_steps']


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('switch_bse_8', ' Did you mean switch_base_8?'),
    ('trainsteps', ' Did you mean train_steps?'),
    ('qqqq', ''),
    ('', ''),
  ],
  ids=['missing letter', 'missing underscore', 'nothing close', 'empty'],
)
def test_did_you_mean(name, expected):
  assert did_you_mean(name, NAMES) == expected


def test_equally_close_names_are_all_offered():
  assert did_you_mean('switch_base_6', ['switch_base_8', 'switch_base_4']) in (
    ' Did you mean switch_base_8 or switch_base_4?',
    ' Did you mean switch_base_4 or switch_base_8?',
  )


def test_nothing_to_choose_from():
  assert did_you_mean('name', []) == ''


def test_a_paragraph_is_one_line_without_gins_calls():
  error = UserError("no  such\nthing.\n  In call to configurable 'run' (<function run>)")
  assert paragraph(error) == 'no such thing.'


def test_a_mistake_reported_by_tensorflow():
  text = '{{node Next}} UserError: a.tsv, line 2:\n not JSON.\nTraceback (most recent call last):\n\n  File x'
  assert from_tensorflow(text) == 'a.tsv, line 2: not JSON.'
  assert from_tensorflow(text.replace('UserError', 'KeyError')) is None
