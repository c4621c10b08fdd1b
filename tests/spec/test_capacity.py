import pytest

from switch_zoo.errors import UserError
from switch_zoo.spec import capacity


@pytest.mark.parametrize(
  ('tokens', 'most', 'mesh', 'expected'),
  [
    pytest.param(4096, 1024, 1, (4, 1024), id='divides'),
    pytest.param(4096, 1024, 8, (8, 512), id='one_group_per_slice'),
    pytest.param(96, 1024, 1, (1, 96), id='fewer_tokens_than_a_group'),
    pytest.param(100, 30, 1, (4, 25), id='next_smaller_divisor'),
    pytest.param(13, 1024, 1, (1, 13), id='prime_batch_of_a_decoding_step'),
    pytest.param(8, 1024, 8, (8, 1), id='one_token_per_slice'),
  ],
)
def test_groups_are_equal_and_as_large_as_they_may_be(tokens, most, mesh, expected):
  assert capacity.split_into_groups(tokens, most, mesh) == expected


@pytest.mark.parametrize(
  ('tokens', 'most', 'mesh', 'message'),
  [
    pytest.param(10, 8, 4, '10 tokens do not divide evenly among the 4 slices', id='mesh'),
    pytest.param(1021, 512, 1, 'equal groups of 1 at most', id='prime'),
    pytest.param(8, 0, 1, 'group_size=0', id='no_group'),
  ],
)
def test_impossible_groups_are_refused(tokens, most, mesh, message):
  with pytest.raises(UserError, match=message):
    capacity.split_into_groups(tokens, most, mesh)


@pytest.mark.parametrize(
  ('group', 'experts', 'factor', 'minimum', 'expected'),
  [
    pytest.param(8, 4, 1.0, 1, 2, id='divides'),
    pytest.param(8192, 8, 1.25, 4, 1280, id='released_switch_base_8'),
    pytest.param(10, 4, 1.0, 1, 2, id='rounds_down'),
    pytest.param(8, 4, 0.1, 1, 1, id='at_least_one'),
    pytest.param(1024, 2048, 1.25, 4, 4, id='at_least_the_minimum'),
    pytest.param(4, 2, 9.0, 4, 4, id='at_most_the_group'),
    pytest.param(1, 64, 2.0, 4, 1, id='the_minimum_never_exceeds_the_group'),
  ],
)
def test_expert_capacity(group, experts, factor, minimum, expected):
  assert capacity.expert_capacity(group, experts, factor, minimum) == expected
