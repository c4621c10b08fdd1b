"""`switch_zoo convert` and `switch_zoo verify` as a user meets them, and fine-tuning from what they made."""

import os
import subprocess
import sys

import numpy as np
import oracles
import pytest
import random_models

from switch_zoo import cli, load_config
from switch_zoo.checkpoints import arrays, conversion, sources, verify
from switch_zoo.checkpoints.request_checks import Request
from switch_zoo.commands import convert
from switch_zoo.errors import UserError
from switch_zoo.tasks import pydoc_topics, vocabularies


@pytest.fixture(scope='module')
def hub(tmp_path_factory):
  """A Hugging Face folder of a Switch Transformer."""
  return oracles.save(oracles.switch(), tmp_path_factory.mktemp('hub') / 'switch')


@pytest.fixture
def switch_zoo(monkeypatch, capsys):
  """Runs the command in this process: exit code, stdout, stderr."""
  monkeypatch.setenv('COLUMNS', '100')

  def run(*arguments):
    monkeypatch.setattr(sys, 'argv', ['switch_zoo', *map(str, arguments)])
    code = cli.run()
    out, err = capsys.readouterr()
    return code, out, err

  return run


def test_there_and_back(switch_zoo, hub, tmp_path):
  code, out, err = switch_zoo('convert', hub, tmp_path / 'mesh', '--to', 'mesh')
  parameters = load_config(f'{tmp_path}/mesh/model.gin').num_parameters
  assert (code, err) == (0, '')
  assert out.startswith(f'Hugging Face to Mesh-TensorFlow: {parameters:,} parameters, 0.00 GB in')
  assert 'Note: No gin file in' in out
  code, out, _ = switch_zoo('convert', tmp_path / 'mesh', tmp_path / 'keras', '--to', 'keras')
  assert code == 0 and 'Note' not in out
  code, out, _ = switch_zoo('verify', hub, tmp_path / 'keras')
  assert code == 0 and out.startswith(f'The same: {parameters:,} values in ')


def test_verify_ends_with_1_where_they_differ(switch_zoo, hub, tmp_path):
  switch_zoo('convert', hub, tmp_path / 'narrow', '--to', 'hf', '--dtype', 'bfloat16')
  code, out, _ = switch_zoo('verify', hub, tmp_path / 'narrow', '--most', 2)
  assert code == 1
  lines = out.splitlines()
  assert lines[0].startswith('shared/embedding: ') and 'the first at [0, 0]: ' in lines[0]
  assert lines[2].startswith('... and ') and 'differ in' in lines[3]


def test_a_mistake_is_one_paragraph(switch_zoo, hub, tmp_path):
  code, out, err = switch_zoo('convert', hub, tmp_path / 'new', '--to', 'mesh', '--model', 'switch_base_9')
  assert (code, out, err.count('\n')) == (2, '', 1) and 'Did you mean' in err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('experts', ['0,2', '0-2'])
def test_experts(switch_zoo, hub, tmp_path, experts):
  code, out, err = switch_zoo('convert', hub, tmp_path / 'new', '--to', 'hf', '--experts', experts)
  if experts == '0-2':
    assert code == 2 and 'Give numbers separated by commas' in err
  else:
    assert code == 0 and 'Note: Experts 0, 2 of 3 were kept.' in out


def test_an_interruption_says_how_to_go_on(switch_zoo, hub, tmp_path, monkeypatch):
  with monkeypatch.context() as patched:

    def interrupted(*arguments):
      raise KeyboardInterrupt

    patched.setattr(arrays, 'write_region', interrupted)
    code, _, err = switch_zoo('convert', hub, tmp_path / 'new', '--to', 'mesh')
  assert (
    code == 130 and f'What was written is in {tmp_path}/new.partial; the same command with --resume continues' in err
  )
  code, out, _ = switch_zoo('convert', hub, tmp_path / 'new', '--to', 'mesh', '--resume')
  assert code == 0 and 'parts had already been written.' in out


@pytest.mark.parametrize(
  ('text', 'expected'), [('5GB', 5 * 10**9), ('1.5m', 1_500_000), ('700', 700), ('2 TB', 2 * 10**12)]
)
def test_sizes(text, expected):
  assert convert.size(text) == expected


def test_a_size_that_is_none():
  with pytest.raises(UserError, match='Give one such as 5GB'):
    convert.size('many')


def test_neither_tensorflow_nor_pytorch_is_imported(hub, tmp_path):
  code = f"""
import sys
from switch_zoo import cli
sys.argv = ['switch_zoo', 'convert', {hub!r}, {str(tmp_path / 'keras')!r}, '--to', 'keras']
assert cli.run() == 0
sys.argv = ['switch_zoo', 'convert', {str(tmp_path / 'keras')!r}, {str(tmp_path / 'mesh')!r}, '--to', 'mesh']
assert cli.run() == 0
print([name for name in ('tensorflow', 'mesh_tensorflow', 't5', 'seqio', 'torch') if name in sys.modules])
"""
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert done.stdout.endswith('\n[]\n'), done.stderr


@pytest.mark.slow
def test_training_starts_from_a_converted_checkpoint(tmp_path):
  """With a learning rate of zero, what training saves is what was converted."""
  vocabulary = tmp_path / 'vocabulary.model'
  vocabularies.train(list(pydoc_topics.documents())[:400], vocabulary, num_pieces=924)
  model = oracles.switch(vocab_size=1024)
  hub = oracles.save(model, tmp_path / 'hf')
  environment = {**os.environ, vocabularies.DEMO_VARIABLE: str(vocabulary)}
  python = [sys.executable, '-m']
  run = lambda *command: subprocess.run([*python, *command], capture_output=True, text=True, env=environment)
  arguments = [hub, str(tmp_path / 'mesh'), '--to', 'mesh', '--dtype', 'float32']
  code = 'import sys; from switch_zoo import cli; sys.exit(cli.run())'
  subprocess.run([sys.executable, '-c', code, 'convert', *arguments], check=True)
  parameters = {
      'MIXTURE_NAME': "'zoo_demo_topics'", 'INIT_CHECKPOINT': f"'{tmp_path}/mesh'", 'TRAIN_STEPS': 1, 'BATCH_SIZE': 4,
      'INPUTS_LENGTH': 32, 'TARGETS_LENGTH': 8, 'LEARNING_RATE': 0.0, 'activation_dtype': "'float32'",
  }  # fmt: skip
  done = run(
      'switch_zoo.t5_mesh_transformer', f'--model_dir={tmp_path}/mine', f'--gin_file={tmp_path}/mesh/model.gin',
      '--gin_file=runs/finetune.gin', '--gin_file=layouts/cpu.gin',
      *(f'--gin_param={name} = {value}' for name, value in parameters.items()),
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  trained, converted = (random_models.restored(str(tmp_path / name)) for name in ('mine', 'mesh'))
  assert trained['global_step'] == 1
  for name in load_config(f'{tmp_path}/mesh/model.gin').variables:
    np.testing.assert_array_equal(trained[name], converted[name], err_msg=name)
  # The folder of the training, with its operative_config.gin, goes back to Hugging Face without a --model.
  conversion.convert(Request(str(tmp_path / 'mine'), str(tmp_path / 'again'), 'hf'))
  assert verify.compare(*map(sources.open_source, (hub, str(tmp_path / 'again')))).num_differences == 0
