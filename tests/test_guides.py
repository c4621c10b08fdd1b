"""The guides: every block of commands of a page, as it is there, one after another in an empty folder."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from switch_zoo import cli
from switch_zoo.errors import UserError

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
GUIDES = CHECKOUT / 'docs' / 'guides'
# The commands of this checkout, and a stand-in for the download, which copies a tiny checkpoint of the same kind.
COMMANDS = {
  't5_mesh_transformer': 'exec "{python}" -m switch_zoo.t5_mesh_transformer "$@"',
  'switch_zoo': 'exec "{python}" -c "import sys; from switch_zoo import cli; sys.exit(cli.main())" "$@"',
  'python': 'exec "{python}" "$@"',
  'hf': 'test "$1 $2 $3" = "download google/switch-base-8 --local-dir" && cp -r "{released}" "$4"',
}


def blocks(page):
  """The blocks of commands of a page, as one script."""
  return '\n'.join(re.findall(r'^```bash\n(.*?)^```$', (GUIDES / page).read_text(encoding='utf-8'), re.M | re.S))


@pytest.fixture
def follow(tmp_path):
  """Runs a guide. Returns its folder, and what it printed on stdout and stderr."""

  def run(page, released=''):
    commands, folder = tmp_path / 'commands', tmp_path / 'user'
    commands.mkdir()
    folder.mkdir()
    for name, text in COMMANDS.items():
      (commands / name).write_text(f'#!/bin/bash\n{text.format(python=sys.executable, released=released)}\n')
      (commands / name).chmod(0o755)
    with socket.socket() as free:
      free.bind(('localhost', 0))
      port = free.getsockname()[1]
    environment = {
      **os.environ,
      'PATH': f'{commands}:{os.environ["PATH"]}',
      'PYTHONPATH': str(CHECKOUT),
      'PYTHONWARNINGS': 'ignore',
      'PORT': str(port),
    }
    done = subprocess.run(
      ['bash', '-euo', 'pipefail', '-c', blocks(page)],
      cwd=folder,
      env=environment,
      capture_output=True,
      text=True,
      timeout=400,
    )
    assert done.returncode == 0, f'{done.stdout}\n{done.stderr}'
    return folder, done.stdout, done.stderr

  return run


def mistake(*arguments):
  """The message of a command that the user got wrong."""
  result = CliRunner().invoke(cli.app, list(map(str, arguments)))
  assert isinstance(result.exception, UserError), result.output
  return str(result.exception)


def save_tiny_release(folder):
  """A Switch Transformer of 2 + 2 layers as transformers saves it, with a vocabulary next to it."""
  transformers = pytest.importorskip('transformers')
  from switch_zoo.tasks import pydoc_topics, vocabularies

  folder.mkdir()
  vocabularies.train(list(pydoc_topics.documents())[:400], folder / 'spiece.model', num_pieces=924)
  sizes = {'vocab_size': 1024, 'd_model': 16, 'd_ff': 32, 'd_kv': 8, 'num_heads': 2, 'num_experts': 4}
  layers = {'num_layers': 2, 'num_decoder_layers': 2, 'num_sparse_encoder_layers': 1, 'num_sparse_decoder_layers': 1}
  config = transformers.SwitchTransformersConfig(**sizes, **layers, decoder_start_token_id=0)
  transformers.SwitchTransformersForConditionalGeneration(config).save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('curl') is None, reason='the guide asks its server with curl')
def test_fine_tune(follow, tmp_path):
  save_tiny_release(tmp_path / 'released')
  folder, out, err = follow('fine_tune.md', tmp_path / 'released')
  assert '"predictions"' in out and '"zoo_file/accuracy"' in out
  assert 'Best: step' in err and (folder / 'tickets' / 'best' / 'best.json').exists()
  assert 'The same: ' in out and (folder / 'hub_again' / 'config.json').exists()
  assert 'pretrained has no metrics.jsonl' in mistake('report', folder / 'pretrained', '--out', tmp_path / 'a')
  data = ['--data', folder / 'train.jsonl', '--out', tmp_path / 'b']
  assert 'The vocabulary bytes' in mistake('report', folder / 'tickets', '--vocab', 'bytes', *data)
  assert not (tmp_path / 'a').exists() and not (tmp_path / 'b').exists()


@pytest.mark.slow
def test_own_task(follow):
  folder, _, err = follow('own_task.md')
  assert re.search(r'accuracy [\d.]+ +labels [\d.]+', err)
  assert 'reviews/accuracy' in (folder / 'reviewer' / 'metrics.jsonl').read_text()


@pytest.mark.slow
def test_own_router(follow):
  folder, out, err = follow('own_router.md')
  assert 'balance' in err and 'SigmoidTop1' in out and (folder / 'report' / 'index.html').exists()
  assert '/MoE1D/load' in (folder / 'routed' / 'metrics.jsonl').read_text()


@pytest.mark.slow
def test_read_the_report(follow):
  folder, _, _ = follow('read_the_report.md')
  parts = re.findall(r'<h2 id="[^"]*">([^<]*)</h2>', (folder / 'report' / 'index.html').read_text(encoding='utf-8'))
  listed = re.findall(r'^\d\. \*\*([^*]*)\.\*\*', (GUIDES / 'read_the_report.md').read_text(encoding='utf-8'), re.M)
  assert len(listed) == 7 and len(parts) >= 6 and set(parts) <= {*listed, 'Text, coloured by expert'}


def test_every_guide_has_a_test():
  tested = {f'{name.removeprefix("test_")}.md' for name in globals() if name.startswith('test_')}
  assert {path.name for path in GUIDES.glob('*.md')} <= tested


def test_a_guide_that_fails_is_noticed(follow, monkeypatch):
  monkeypatch.setitem(globals(), 'blocks', lambda page: 'false\ntrue')
  with pytest.raises(AssertionError):
    follow('own_task.md')
