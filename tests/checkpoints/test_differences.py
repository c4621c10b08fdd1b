"""Differences in names and shapes are described in one way, wherever they are found."""

import pytest

from switch_zoo.checkpoints.differences import describe_differences, summarize


@pytest.mark.parametrize(
  ('stored', 'expected'),
  [
    ({'a': (2, 3), 'b': (4,)}, []),
    ({'a': [2, 3], 'b': [4]}, []),
    ({'a': (2, 3)}, ['b is missing from the checkpoint']),
    ({'a': (2, 5), 'b': (4,)}, ['a is [2, 5] in the checkpoint and [2, 3] in the model']),
    ({'a': (6,), 'b': (4,)}, ['a is [6] in the checkpoint and [2, 3] in the model']),
    ({'a': (2, 3), 'b': (4,), 'c': ()}, ['c is only in the checkpoint']),
    (
      {'a': (3, 2), 'c': ()},
      [
        'a is [3, 2] in the checkpoint and [2, 3] in the model',
        'b is missing from the checkpoint',
        'c is only in the checkpoint',
      ],
    ),
  ],
  ids=['the same', 'lists', 'missing', 'reshaped', 'other axes', 'unexpected', 'all in order'],
)
def test_descriptions(stored, expected):
  assert describe_differences(stored, {'a': (2, 3), 'b': [4]}) == expected


def test_the_sides_have_the_names_they_are_given():
  lines = describe_differences({'a': (1,), 'c': ()}, {'a': (2,), 'b': ()}, 'the first', 'the second')
  expected = ['a is [1] in the first and [2] in the second', 'b is missing from the first', 'c is only in the first']
  assert lines == expected


@pytest.mark.parametrize(
  ('number', 'expected'), [(0, ''), (1, 'a'), (3, 'a; b; c'), (4, 'a; b; c; and 1 more'), (6, 'a; b; c; and 3 more')]
)
def test_the_first_three_are_shown_and_the_rest_counted(number, expected):
  assert summarize(list('abcdef')[:number]) == expected
