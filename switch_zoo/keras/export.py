"""A SavedModel that takes text and returns text, and needs nothing but tensorflow and tensorflow_text to run.

EXPORT_DIR/1/                 what TensorFlow Serving loads as version 1 of the model
EXPORT_DIR/1/checksums.json   the sizes and checksums of its files, which `switch_zoo serve` checks
EXPORT_DIR/README.md          its signatures, and how to ask it
"""

import contextlib
import os
import shutil
from collections.abc import Iterator

import tensorflow as tf

from switch_zoo import machine, number_format
from switch_zoo.checkpoints import file_checksums, sources
from switch_zoo.errors import UserError, full_disk
from switch_zoo.keras import export_readme, generation, text
from switch_zoo.keras.export_settings import ExportSettings
from switch_zoo.keras.inference import Inference
from switch_zoo.spec.config import ModelConfig
from switch_zoo.spec.token_ids import END
from switch_zoo.vocabulary import fit


class TextModel(tf.Module):
  """Text to text: a vocabulary for each side, which mostly is the same, a model and the settings.

  note: what the user should know of the number format it computes in; '' for nothing
  """

  def __init__(
    self,
    model: Inference,
    vocabulary: text.Vocabulary,
    settings: ExportSettings,
    note: str = '',
    target_vocabulary: text.Vocabulary | None = None,
  ) -> None:
    super().__init__()
    self.model, self.vocabulary, self.settings, self.note = model, vocabulary, settings, note
    self.target_vocabulary = target_vocabulary or vocabulary

  def answer(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
    """Answers to texts.

    Args:
      inputs: <string>[batch]
    Returns:
      outputs <string>[batch], scores <float32>[batch], log-probability, natural logarithm; with N answers to each input
      both are [batch, N], and a beam search adds beam_scores, what it ranked them by
    """
    settings = self.settings
    seed = settings.seed
    if seed is None:
      seed = tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32)
    ids, scores, beam_scores = generation.answer(
      self.model,
      self._ids(inputs),
      settings.max_new_tokens,
      settings.beam,
      settings.sampling,
      seed,
      settings.processors,
      settings.num_return_sequences,
    )
    if settings.num_return_sequences == 1:
      return {'outputs': self.target_vocabulary.decode(ids), 'scores': scores}
    shape = [tf.shape(inputs)[0], settings.num_return_sequences]
    outputs = self.target_vocabulary.decode(tf.reshape(ids, [shape[0] * shape[1], tf.shape(ids)[2]]))
    answers = {'outputs': tf.reshape(outputs, shape), 'scores': tf.reshape(scores, shape)}
    return answers if beam_scores is None else {**answers, 'beam_scores': tf.reshape(beam_scores, shape)}

  def score(self, inputs: tf.Tensor, targets: tf.Tensor) -> dict[str, tf.Tensor]:
    """<string>[batch], <string>[batch] -> scores <float32>[batch] of the targets"""
    return {'scores': generation.score(self.model, self._ids(inputs), self._ids(targets, self.target_vocabulary))}

  def _ids(self, texts: tf.Tensor, vocabulary: text.Vocabulary | None = None) -> tf.Tensor:
    """<string>[batch] -> <int32>[batch, length], each with its end; a text that is too long is cut before it."""
    ids = (vocabulary or self.vocabulary).encode(texts)[:, : self.settings.max_input_tokens - 1]
    return tf.concat([ids, tf.fill([ids.nrows(), 1], END)], 1).to_tensor()


def open_model(
  source: str, model: str | None, vocab: str | None, settings: ExportSettings, target_vocab: str | None = None
) -> TextModel:
  """Reads a folder of weights of any format, for answering.

  Args:
    source: the folder
    model: a name or gin file; None: read from the folder
    vocab: a sentencepiece model, a tokenizer.json or 'bytes'; None: that of the folder, or of SWITCH_ZOO_VOCAB
    settings: ExportSettings
    target_vocab: the vocabulary of answers and targets, if they have another
  Raises:
    UserError: no checkpoint, no vocabulary, a vocabulary that is not the model's, a setting that makes no sense
  """
  settings.check()
  weights = sources.open_source(source, model)
  vocabulary = text.vocabulary(vocab, source if os.path.isdir(source) else os.path.dirname(source))
  config = weights.config
  check_end(config)
  target_vocabulary = None if target_vocab is None else text.vocabulary(target_vocab, source)
  _check_sides(vocabulary, target_vocabulary, config)
  settings.processors.check_vocabulary(config.num_target_ids)
  choice = number_format.choose(settings.dtype, machine.fast_format(), '--dtype')
  inference = Inference(config, weights.whole, choice.dtype, settings.expert_capacity)
  return TextModel(inference, vocabulary, settings, choice.note, target_vocabulary)


def _check_sides(inputs: text.Vocabulary, targets: text.Vocabulary | None, config: ModelConfig) -> None:
  """Raises UserError if a vocabulary is not that of its side, or the model cannot have two."""
  if targets is None:
    check_vocabulary(inputs, config)
    return
  if config.shared_embedding:
    raise UserError(
      f'--target-vocab={targets.name_of_file}: the model has one embedding for inputs and answers, and so one '
      'vocabulary. Leave it out.'
    )
  for vocabulary, option, macro, num_ids in (
    (inputs, 'vocab', 'vocab_size', config.num_ids),
    (targets, 'target-vocab', 'target_vocab_size', config.num_target_ids),
  ):
    remedy = f'Give the one it was trained with: --{option} FILE.'
    fit.check(f'The vocabulary {vocabulary.name_of_file}', vocabulary.size, num_ids, remedy, macro)


def check_vocabulary(vocabulary: text.Vocabulary, config: ModelConfig) -> None:
  """Raises UserError if a vocabulary is not that of the model, by its size."""
  check_vocabulary_size(vocabulary.name_of_file, vocabulary.size, config)


def check_vocabulary_size(name: str, size: int, config: ModelConfig) -> None:
  """The same for a vocabulary of which the name and the size are known."""
  # A model that reads and writes other ids, as those of GShard, has a vocabulary for each.
  targets = '' if config.num_ids == config.num_target_ids else ', and that of the answers: --target-vocab FILE'
  for num_ids in (config.num_ids, config.num_target_ids):
    fit.check(f'The vocabulary {name}', size, num_ids, f'Give the one it was trained with: --vocab FILE{targets}.')


def check_end(config: ModelConfig) -> None:
  """Raises UserError if the model ends answers with another id than the vocabularies of `text` do."""
  if config.end_id != END:
    raise UserError(
      f'The model ends answers with the id {config.end_id}, and the vocabularies that switch_zoo reads end texts with '
      f'{END}. Make ids of the texts with its own tokenizer, and answer those in Python: '
      'switch_zoo.load(FOLDER).generate(ids).'
    )


def export(model: TextModel, folder: str) -> None:
  """Writes the SavedModel, whole or not at all.

  Args:
    model: TextModel
    folder: new or empty
  Raises:
    UserError: the folder exists and is not empty, or it cannot be written
  """
  check_destination(folder)
  path = os.path.abspath(folder)
  readme = export_readme.text(os.path.basename(path), model.model.config, model.settings, model.model.dtype.name)
  signatures = _signatures(model)
  try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # In the same folder, so that one rename moves it into place; removed if anything fails before that, or else by the
    # next export: a process that was killed removes nothing.
    with emptied(os.path.join(os.path.dirname(path), f'.export-{os.path.basename(path)}')) as complete:
      tf.saved_model.save(model, os.path.join(complete, '1'), signatures)
      with open(os.path.join(complete, 'README.md'), 'w', encoding='utf-8') as file:
        file.write(readme)
      file_checksums.write(os.path.join(complete, '1'))
      os.replace(complete, path)
  except (OSError, tf.errors.OpError) as error:
    full = full_disk(error)
    if full:
      raise UserError(
        f'{full} for {folder}. Nothing was written: free some space, or choose a folder on another disk.'
      ) from error
    if not isinstance(error, OSError):
      raise
    raise UserError(
      f'{folder} cannot be written: {error.strerror or error}. Choose a folder that you may write to.'
    ) from error


@contextlib.contextmanager
def emptied(folder: str) -> Iterator[str]:
  """A new folder, which is removed at the end if it is still there."""
  shutil.rmtree(folder, ignore_errors=True)
  os.mkdir(folder)
  try:
    yield folder
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def check_destination(folder: str) -> None:
  """Raises UserError if a folder exists and is not empty, or is a file."""
  if os.path.isfile(folder) or (os.path.isdir(folder) and os.listdir(folder)):
    raise UserError(f'{folder} already exists. Give a folder that is new or empty.')


def _signatures(model: TextModel) -> dict[str, tf.types.experimental.ConcreteFunction]:
  texts = tf.TensorSpec([None], tf.string, 'inputs')
  targets = tf.TensorSpec([None], tf.string, 'targets')
  return {
    'serving_default': tf.function(model.answer).get_concrete_function(texts),
    'score': tf.function(model.score).get_concrete_function(texts, targets),
  }
