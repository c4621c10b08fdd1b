"""Slices: their names, and how many programs they run."""

import pytest

from switch_zoo.errors import UserError
from switch_zoo.spec import layouts
from switch_zoo.tpu import slices


@pytest.mark.parametrize(
  ('name', 'topology', 'chips', 'devices'),
  [
    ('v2-8', 'v2:2x2', 4, 8),
    ('v3-32', 'v3:4x4', 16, 32),
    ('v3-2048', 'v3:32x32', 1024, 2048),
    ('v4-8', 'v4:2x2x1', 4, 8),
    ('v4-4096', 'v4:8x16x16', 2048, 4096),
    ('v5p-8', 'v5p:2x2x1', 4, 4),
    ('v5e-16', 'v5e:4x4', 16, 16),
    ('v5litepod-16', 'v5e:4x4', 16, 16),
    ('v6e-4', 'v6e:2x2', 4, 4),
    ('V3-8', 'v3:2x2', 4, 8),
  ],
)
def test_a_slice_by_hand(name, topology, chips, devices):
  found = slices.find(name)
  assert (found.topology, found.chips, found.devices) == (topology, chips, devices)


def test_every_ready_made_layout_is_for_a_slice_that_exists():
  for name in layouts.list_layouts():
    if '/' in name:
      assert slices.find(name.split('/')[0]).devices == layouts.load_layout(name).num_slices


@pytest.mark.parametrize(
  ('name', 'words'),
  [
    ('v3-64', 'There is no slice v3-64. The nearest are v3-32 and v3-128; v3 has v3-8,'),
    ('v3-0', 'The nearest are v3-8'),
    ('v4-100000', 'The nearest are v4-4096'),
    ('v7-8', 'There is no slice "v7-8".'),
    ('3-32', 'Did you mean v3-32?'),
    ('', 'A slice is a generation'),
    ('v3-' + '9' * 5000, 'There is no slice'),
  ],
)
def test_a_slice_that_does_not_exist(name, words):
  with pytest.raises(UserError) as refused:
    slices.find(name)
  assert words in str(refused.value) and '\n' not in str(refused.value)
