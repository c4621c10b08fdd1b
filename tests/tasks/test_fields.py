"""Fields of a row, and the messages about bad ones."""

import pytest

from switch_zoo.tasks import fields
from switch_zoo.tasks.raw_files import BadField

ROW = {'text': 'a', 'label': 1, 'truth': True, 'items': [{'a': 1}], 'names': ['x', 'y'], 'none': None}


def test_good_fields():
  assert fields.text(ROW, 'text') == 'a'
  assert fields.integer(ROW, 'label') == 1
  assert fields.value(ROW, 'none') is None
  assert fields.objects(ROW, 'items') == [{'a': 1}]
  assert fields.texts(ROW, 'names') == ['x', 'y']
  assert fields.one_of(ROW, 'label', (0, 1)) == 1
  assert fields.one_of(ROW, 'truth', (False, True)) is True


@pytest.mark.parametrize(
  ('read', 'message'),
  [
    (lambda: fields.value(ROW, 'labl'), 'field "labl" is missing; the row has: text.*none. Did you mean label'),
    (lambda: fields.value({}, 'a'), 'field "a" is missing; the row has: nothing'),
    (lambda: fields.text(ROW, 'label'), 'field "label" is 1, not text'),
    (lambda: fields.text(ROW, 'none'), 'field "none" is None, not text'),
    (lambda: fields.integer(ROW, 'truth'), 'field "truth" is True, not a whole number'),
    (lambda: fields.objects(ROW, 'names'), 'field "names" contains \'x\', which is not a JSON object'),
    (lambda: fields.texts(ROW, 'items'), 'field "items" contains .*, which is not text'),
    (lambda: fields.one_of(ROW, 'text', ('yes', 'no')), 'field "text" is \'a\'; it must be one of: yes, no'),
    (lambda: fields.one_of(ROW, 'truth', (0, 1)), 'field "truth" is True; it must be one of: 0, 1'),
  ],
)
def test_bad_fields(read, message):
  with pytest.raises(BadField, match=message):
    read()
