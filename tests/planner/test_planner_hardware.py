"""Chips and slices by name."""

import math

import pytest

from switch_zoo.errors import UserError
from switch_zoo.planner import hardware
from switch_zoo.spec import layouts


def test_a_slice_by_hand():
  found = hardware.slice_named('v3-128')
  assert (found.sides, found.cores, found.chip.name) == ((8, 8), 128, 'v3')
  assert hardware.slice_named('v5e-64').cores == 64
  # The name of a v5p slice counts two cores a chip, which run one program.
  assert hardware.slice_named('v5p-64').cores == 32


@pytest.mark.parametrize('name', hardware.CHIPS)
def test_chips_of_a_slice_are_those_of_its_name(name):
  chip = hardware.CHIPS[name]
  assert all(math.prod(sides) == number // (2 if chip.named_by_cores else 1) for number, sides in chip.slices.items())
  assert chip.limit <= chip.memory * 1.01


def test_slices_of_the_ready_layouts_exist():
  for name in layouts.list_layouts():
    if '/' in name:
      slice_name = name.split('/')[0]
      assert hardware.slice_named(slice_name).cores == layouts.cores(slice_name)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('v3-64', 'v3 has no slice of that size. The closest are v3-32 and v3-128'),
    ('v3-100000', 'The closest are v3-1024 and v3-2048'),
    ('v9-8', r'there is no chip "v9".*Chips are v2, v3'),
    ('v3', '"v3" is not a slice. Its form is chip-number: v3-32'),
  ],
)
def test_a_slice_that_does_not_exist(name, message):
  with pytest.raises(UserError, match=message):
    hardware.slice_named(name)
