import pytest

from switch_zoo.errors import UserError
from switch_zoo.mesh import stacks


@pytest.mark.parametrize(('layers', 'per_block', 'blocks'), [(12, 1, 12), (12, 2, 6), (15, 1, 15), (2, 2, 1)])
def test_num_blocks(layers, per_block, blocks):
  assert stacks.num_blocks(num_layers=layers, layers_per_block=per_block) == blocks


def test_layers_that_do_not_fill_blocks():
  with pytest.raises(UserError, match='num_layers=15 .* Use 14 or 16 layers'):
    stacks.num_blocks(num_layers=15, layers_per_block=2)
  with pytest.raises(UserError, match='layers_per_block=0: a block holds at least one layer'):
    stacks.num_blocks(num_layers=15, layers_per_block=0)
