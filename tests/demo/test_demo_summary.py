"""The figures at the end of the demo, from results that are written down here."""

import io

import pytest
from rich.console import Console

from switch_zoo.demo import phases, summary
from switch_zoo.demo.budget import DemoBudget
from switch_zoo.demo.folder import open_folder

LOAD = {'encoder/block_000/layer_003/MoE1D': [0.25, 0.75], 'decoder/block_000/layer_005/MoE1D': [0.5, 0.5]}
RESULTS = {
  'expert_load': {'pre-training': LOAD, 'fine-tuning': LOAD},
  'evaluate': {
    'examples': 321,
    'sections': 12,
    'majority_section': 'names',
    'majority': 20.04,
    'from_random': 41.56,
    'pretrained': 55.479,
  },
  'export': {'folder': '1234', 'megabytes': 2.5},
  'ask': {'request': 'section: [bold]is[/bold] kept', 'answer': 'strings', 'section': 'formatting'},
}


@pytest.fixture
def folder(tmp_path):
  with open_folder(tmp_path / 'demo', 0, DemoBudget()) as folder:
    for phase in phases.PHASES:
      folder.keep(phase.name, RESULTS.get(phase.name, {}))
    yield folder


def shown(folder, measured_now):
  out = io.StringIO()
  summary.show(Console(file=out, width=300), folder, measured_now)
  return out.getvalue()


def rows(text):
  """The words of each line."""
  return [' '.join(line.split()) for line in text.splitlines()]


def test_every_figure_is_that_of_a_phase(folder):
  lines = rows(shown(folder, {phase.name for phase in phases.PHASES}))
  for line in (
    'Share of the tokens of each expert while fine-tuning (an equal share is 50.0%)',
    'Accuracy on 321 held-out paragraphs of 12 sections',
    'always "names", the most frequent section 20.0%',
    'fine-tuned without pre-training 41.6%',
    'fine-tuned with pre-training 55.5%',
    'answer strings',
    'its section formatting',
  ):
    assert line in lines, line
  assert not any('earlier run' in line for line in lines)
  assert lines[-1].endswith('docs/results.md')


def test_a_request_is_text_and_not_markup(folder):
  assert 'request section: [bold]is[/bold] kept' in rows(shown(folder, set()))


def test_phases_of_an_earlier_run_are_named(folder):
  text = shown(folder, {'evaluate', 'export', 'ask'})
  assert f'Measured by an earlier run in {folder.path}: pretrain, finetune, finetune_random.' in text


def test_the_contents_are_named(folder):
  names = [line.split(' (')[0] for line in summary.contents(folder)]
  checkpoints = 'pretrained, finetuned and finetuned_from_random'
  assert names == ['vocabulary.model', checkpoints, 'export/1234', 'expert_load.png', 'results']
