"""The demo's output folder: which one is accepted, and what a second run finds in it."""

import json

import pytest

from switch_zoo.demo import folder
from switch_zoo.demo.budget import DemoBudget
from switch_zoo.errors import UserError

BUDGET = DemoBudget()


def opened(path, seed=0):
  return folder.open_folder(path, seed, BUDGET)


def listing(path):
  return sorted(str(entry.relative_to(path)) for entry in path.rglob('*'))


def test_a_new_folder_is_made_and_marked(tmp_path):
  with opened(tmp_path / 'a' / 'demo') as begun:
    assert json.loads((begun.path / 'demo.json').read_text())['seed'] == 0
  assert listing(tmp_path / 'a' / 'demo') == ['demo.json', 'demo.lock', 'results']


def test_an_empty_folder_is_accepted(tmp_path):
  with opened(tmp_path):
    pass


def test_results_are_found_again(tmp_path):
  with opened(tmp_path / 'demo') as first:
    assert not first.is_done('evaluate')
    first.keep('evaluate', {'accuracy': 12.5})
  with opened(tmp_path / 'demo') as second:
    assert second.is_done('evaluate') and second.result('evaluate') == {'accuracy': 12.5}


def refused(path, match, seed=0):
  with pytest.raises(UserError, match=match), opened(path, seed):
    pytest.fail('the folder was opened')


def test_a_folder_with_something_else_is_left_alone(tmp_path):
  (tmp_path / 'thesis.tex').write_text('years of work')
  refused(tmp_path, 'is not empty and does not hold a demo .it contains thesis.tex.')
  assert listing(tmp_path) == ['thesis.tex']


def test_a_file(tmp_path):
  (tmp_path / 'file').write_text('')
  refused(tmp_path / 'file', 'is a file. Give a folder')
  refused(tmp_path / 'file' / 'below', 'cannot be written: .*file does not allow it')
  assert listing(tmp_path) == ['file']


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
  monkeypatch.setattr(folder.os, 'access', lambda path, mode: False)
  refused(tmp_path / 'demo', 'cannot be written')
  assert listing(tmp_path) == []


def test_a_full_disk(tmp_path, monkeypatch):
  def full(*args, **kwargs):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(folder.pathlib.Path, 'mkdir', full)
  refused(tmp_path / 'demo', 'cannot be written: No space left on device')


def test_another_seed(tmp_path):
  with opened(tmp_path / 'demo'):
    pass
  refused(tmp_path / 'demo', 'a demo begun with seed 0, not 1. Use another --out, or delete', seed=1)


def test_two_demos_at_once(tmp_path):
  with opened(tmp_path / 'demo'):
    refused(tmp_path / 'demo', 'A demo is running in')
