"""Times by hand, and against the rooflines that GShard prints."""

import pytest

from switch_zoo.planner import cost, hardware
from switch_zoo.planner.lowering import ALL_TO_ALL, Collective
from switch_zoo.spec import layouts

# GShard, arXiv:2006.16668, figure 8: cores -> microseconds of the two all-to-alls of a layer, roofline and measured.
ALL_TO_ALLS = {128: (598, 1239), 512: (1239, 3034), 2048: (1624, 4744)}


def test_hops_by_hand():
  # A line of 4: distances 0 to 3, on average (2 * (3 * 1 + 2 * 2 + 1 * 3)) / 16. A ring of 4: 0, 1, 2, 1.
  assert cost.mean_hops([4], wrap=32) == 20 / 16
  assert cost.mean_hops([4], wrap=4) == 1
  assert cost.directed_links([4], wrap=32) == 6 and cost.directed_links([4], wrap=4) == 8


@pytest.mark.parametrize('cores', ALL_TO_ALLS)
def test_all_to_alls_of_gshard(cores):
  """2,048 tokens a core, capacity factor 2, 1,024 wide, 2 bytes: the roofline within 4 percent, the bars within 25."""
  target = hardware.slice_named(f'v3-{cores}')
  layout = layouts.parse(f'batch:{cores}', 'batch:batch;experts:batch')
  elements = 2 * 2048 * 1024
  one = cost.collective_seconds(
    Collective(ALL_TO_ALL, ('batch',), elements, 2 * elements, 'dispatch', False), layout, target
  )
  roofline, measured = ALL_TO_ALLS[cores]
  sides = [side / 1e6 for side in (roofline, measured)]
  assert 2 * one * cost.ALL_TO_ALL_SHARE == pytest.approx(sides[0], rel=0.07)
  assert 2 * one == pytest.approx(sides[1], rel=0.25)


def test_an_all_reduce_by_hand():
  """Four chips in a square without rings: each byte is sent twice, less the quarter that is there, over 4 links."""
  target = hardware.slice_named('v3-8')
  expected = 2 * 3 / 4 * 1e9 * cost.WITHOUT_RING / (4 * 82e9 * cost.ALL_REDUCE_SHARE)
  assert cost.all_reduce_seconds(int(1e9), target, target.sides) == pytest.approx(expected)
  assert cost.all_reduce_seconds(int(1e9), target, (1, 1)) == 0


def test_the_last_axis_is_laid_on_neighbours():
  layout, target = layouts.parse('batch:8;model:16', 'batch:batch;d_ff:model'), hardware.slice_named('v3-128')
  assert cost.box(['model'], layout, target) == (4, 2)
  assert cost.box(['batch'], layout, target) == (8, 8)
