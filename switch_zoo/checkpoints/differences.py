"""How the tensors of a checkpoint differ in names and shapes from those expected there, in words."""

from collections.abc import Mapping, Sequence

Shapes = Mapping[str, Sequence[int]]
MAX_SHOWN = 3


def describe_differences(
  stored: Shapes, expected: Shapes, stored_in: str = 'the checkpoint', expected_in: str = 'the model'
) -> list[str]:
  """One phrase for each tensor that has another shape, is missing, or is not expected, in this order.

  >>> describe_differences({'k': (2, 3), 'v': (4,)}, {'q': (4,), 'k': [2, 4]})[:2]
  ['k is [2, 3] in the checkpoint and [2, 4] in the model', 'q is missing from the checkpoint']

  Args:
    stored: name -> shape of the tensors that are there
    expected: name -> shape of the tensors that should be
    stored_in, expected_in: what the phrases call the two sides
  """
  # Shapes come first: they say how the models differ where only the first differences are shown.
  reshaped = [
    f'{name} is {list(stored[name])} in {stored_in} and {list(shape)} in {expected_in}'
    for name, shape in expected.items()
    if name in stored and list(stored[name]) != list(shape)
  ]
  missing = [f'{name} is missing from {stored_in}' for name in expected if name not in stored]
  unexpected = [f'{name} is only in {stored_in}' for name in stored if name not in expected]
  return reshaped + missing + unexpected


def summarize(differences: Sequence[str], max_shown: int = MAX_SHOWN) -> str:
  """The first differences as part of a sentence, and how many more there are.

  >>> summarize(['a is missing', 'b is missing', 'c is missing'], 1)
  'a is missing; and 2 more'
  """
  more = len(differences) - max_shown
  return '; '.join([*differences[:max_shown], *([f'and {more} more'] if more > 0 else [])])
