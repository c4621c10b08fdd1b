"""Python's garbage collector is off while nothing is garbage, and as before afterwards."""

import gc

import pytest

from switch_zoo import garbage


def test_it_is_off_inside_and_as_before_afterwards():
  assert gc.isenabled()
  with garbage.without_collections():
    assert not gc.isenabled()
    with garbage.without_collections():
      pass
    assert not gc.isenabled()
  assert gc.isenabled()


def test_it_is_back_after_an_error():
  with pytest.raises(KeyError), garbage.without_collections():
    raise KeyError
  assert gc.isenabled()


def test_what_an_import_made_is_not_looked_at_again():
  gc.unfreeze()
  try:
    with garbage.while_importing():
      made = [[] for _ in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() > len(made)
  finally:
    gc.unfreeze()
