import json
import subprocess
import sys

import pytest

from switch_zoo.errors import UserError
from switch_zoo.launcher import flags

OURS_ALONE = {'debug', 'help'}


def parse(*arguments):
  return flags.parse(['t5_mesh_transformer', *arguments])


def test_all_of_t5s_flags_with_their_defaults():
  """T5's module defines its flags when it is imported, so it is asked in a process of its own."""
  code = """
import json
from switch_zoo import tf_compat
tf_compat.repair()
from absl import flags
from t5.models import mesh_transformer_main
names = [f.name for m in ('t5.models.mesh_transformer_main', 'mesh_tensorflow.transformer.utils')
         for f in flags.FLAGS.get_flags_for_module(m) + flags.FLAGS.get_key_flags_for_module(m)]
print(json.dumps({name: flags.FLAGS[name].default for name in names}))
"""
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  theirs = json.loads(done.stdout.splitlines()[-1])
  values = parse()
  assert {'gin_file', 'model_dir', 'use_model_api'} <= set(theirs)
  assert {name: values[name].default for name in theirs} == theirs


def test_repeated_flags_are_lists():
  values = parse('--gin_file=a.gin', '--gin_file', 'b.gin', '--gin_param=n = 1')
  assert values.gin_file == ['a.gin', 'b.gin'] and values.gin_param == ['n = 1']


def test_flags_of_absl_are_taken():
  assert parse('--verbosity=0', '--model_dir=x').model_dir == 'x'


def test_parsing_twice_keeps_nothing():
  parse('--gin_file=a.gin')
  assert parse().gin_file is None


@pytest.mark.parametrize(
  ('argument', 'words'),
  [
    ('--modeldir=x', 'no flag --modeldir. Did you mean model_dir'),
    ('--batch_size=many', 'batch_size'),
    ('--mode=trian', 'train'),
    ('model_dir=x', '"model_dir=x" is not a flag'),
  ],
  ids=['unknown', 'not a number', 'not one of the choices', 'not a flag'],
)
def test_mistakes(argument, words):
  with pytest.raises(UserError) as error:
    parse(argument)
  assert words in str(error.value) and '\n' not in str(error.value)


def test_help_names_every_flag():
  text = flags.help_text(parse())
  assert all(f'--{name}:' in text for name in ('model_dir', 'gin_file', 'use_model_api', 'debug'))
