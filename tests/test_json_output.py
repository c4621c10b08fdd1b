"""What --json prints is JSON, whatever the numbers are."""

import json
import math

from switch_zoo.commands import json_output


def test_numbers_that_json_does_not_have_are_null():
  document = {'a': math.nan, 'b': [math.inf, 1.5, {'c': (-math.inf, None, True)}], 'd': 'NaN \u00e9'}

  def refuse(name):
    raise AssertionError(name)

  for indent in (None, 2):
    text = json_output.as_json(document, indent)
    assert json.loads(text, parse_constant=refuse) == {
      'a': None,
      'b': [None, 1.5, {'c': [None, None, True]}],
      'd': 'NaN \u00e9',
    }
  assert '\u00e9' in text
