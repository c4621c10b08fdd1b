"""Settings of runs/infer.gin, and the lines that several samples of an input become."""

import contextlib

import gin
import pytest
import tensorflow.compat.v1 as tf
from mesh_tensorflow.transformer import utils as mesh_utils

from switch_zoo.errors import UserError
from switch_zoo.launcher import decoding_check
from switch_zoo.spec import gin_files


def bind(*settings):
  """Binds what runs/infer.gin does with these settings in place of its own."""
  lines = (gin_files.configs_folder() / 'runs' / 'infer.gin').read_text().splitlines()
  kept = [line for line in lines if line.startswith(('Bitransformer.', 'utils.decode_from_file.repeats'))]
  defaults = ['BEAM_SIZE = 1', 'TEMPERATURE = 0.0', 'TOP_K = -1', 'NUM_RETURN_SEQUENCES = 1', 'LENGTH_PENALTY = 0.6']
  assert set(defaults) <= set(lines)
  imports = ['import mesh_tensorflow.transformer.transformer', 'import mesh_tensorflow.transformer.utils']
  gin.parse_config('\n'.join([*imports, *defaults, 'TARGETS_LENGTH = 8', *settings, *kept]))


@pytest.mark.parametrize(
  'settings',
  [
    [],
    ['BEAM_SIZE = 4'],
    ['TEMPERATURE = 1'],
    ['TEMPERATURE = 0.7', 'TOP_K = 20'],
    ['TEMPERATURE = 0.7', 'NUM_RETURN_SEQUENCES = 3'],
  ],
  ids=str,
)
def test_what_the_decoder_can_do(settings):
  bind(*settings)
  decoding_check.decoding_possible()


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (['NUM_RETURN_SEQUENCES = 0'], 'NUM_RETURN_SEQUENCES = 0 must be a whole number'),
    (['NUM_RETURN_SEQUENCES = 2.5'], 'NUM_RETURN_SEQUENCES = 2.5 must be'),
    (['NUM_RETURN_SEQUENCES = 3'], r'Set a TEMPERATURE .*--beam-size 3 --num-return-sequences 3`'),
    (['NUM_RETURN_SEQUENCES = 3', 'BEAM_SIZE = 4'], r'several beams .*`switch_zoo generate .*--beam-size 4'),
    (['BEAM_SIZE = 4', 'TEMPERATURE = 0.5'], 'BEAM_SIZE = 4 does not draw tokens'),
    (['BEAM_SIZE = 4', 'TOP_K = 5'], 'BEAM_SIZE = 4 does not draw tokens'),
    (['BEAM_SIZE = 0'], 'BEAM_SIZE = 0 must be'),
    (['TEMPERATURE = -1.0'], 'TEMPERATURE = -1.0 must be 0'),
    (['TEMPERATURE = None'], 'TEMPERATURE = None must be 0'),
    (['TOP_K = 0'], 'TOP_K = 0 must be'),
  ],
  ids=str,
)
def test_what_it_cannot_do(settings, message):
  bind(*settings)
  with pytest.raises(UserError, match=message):
    decoding_check.decoding_possible()


def test_samples_of_an_input_are_consecutive_lines(tmp_path, monkeypatch):
  """Mesh-TensorFlow repeats each input: with a decoder that numbers its answers, a, a, b, b, c, c, also in batches."""

  class Letters:
    encode = staticmethod(lambda text: [ord(text)])

  def numbered(estimator, input_fn, vocabulary, checkpoint_path=None):
    batch, rows = tf.data.make_one_shot_iterator(input_fn({})).get_next()['inputs'], []
    with tf.Session() as session, contextlib.suppress(tf.errors.OutOfRangeError):
      while True:
        rows.extend(session.run(batch))
    return [f'{chr(row[0])}{number}' for number, row in enumerate(rows)]

  monkeypatch.setattr(mesh_utils, 'decode', numbered)
  monkeypatch.setattr(mesh_utils, 'get_step_from_checkpoint_path', lambda path: 7)
  (tmp_path / 'in').write_text('a\nb\nc\n')
  bind('TEMPERATURE = 1.0', 'NUM_RETURN_SEQUENCES = 2')
  lengths = {'inputs': 4, 'targets': 4}
  names = {'input_filename': str(tmp_path / 'in'), 'output_filename': str(tmp_path / 'out')}
  mesh_utils.decode_from_file(None, (Letters, Letters), 'bitransformer', 4, lengths, **names)
  assert (tmp_path / 'out-7').read_text().split() == ['a0', 'a1', 'b2', 'b3', 'c4', 'c5']
