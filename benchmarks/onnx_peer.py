"""A dense t5_base in int8 for ONNX Runtime, side by side with CTranslate2 in int8 with the same weights.

  python benchmarks/onnx_peer.py --batch 1 8 32 --work-dir FOLDER

Random weights, 128 random input tokens, 32 new tokens, greedy, two threads each, in turns in one process. CTranslate2
reads the weights from a folder of Hugging Face that is written for it. Needs ctranslate2, torch and transformers.
"""

import argparse
import pathlib
import statistics
import time

import numpy as np
import serving

INPUTS, NEW_TOKENS = serving.INPUTS, serving.NEW_TOKENS


class Tokenizer:
  """What the converter asks of a tokenizer: a name for each id."""

  pad_token, eos_token, unk_token, bos_token = '<pad>', '</s>', '<unk>', None

  def __init__(self, size):
    names = [self.pad_token, self.eos_token, self.unk_token, *(f'token{number}' for number in range(3, size))]
    self.vocabulary = {name: number for number, name in enumerate(names)}

  def get_vocab(self):
    """Name -> id."""
    return self.vocabulary

  def convert_ids_to_tokens(self, number):
    """Its name."""
    return list(self.vocabulary)[number]


def make(folder):
  """Writes both models."""
  import ctranslate2

  from switch_zoo.keras.export_settings import ExportSettings
  from switch_zoo.onnx_export import folder as onnx_folder
  from switch_zoo.onnx_runner import text_ids

  config, read = serving.random_weights('t5_base')
  weights = {name: read(name) for name in config.variables}
  settings = ExportSettings('int8', max_new_tokens=NEW_TOKENS, max_input_tokens=INPUTS)
  onnx_folder.write(
    onnx_folder.OnnxSource(config, weights.__getitem__, text_ids.ByteIds(), settings), str(folder / 'onnx')
  )
  save_hugging_face(config, weights, folder / 'hf')

  class Converter(ctranslate2.converters.TransformersConverter):
    """Without files of a tokenizer."""

    def load_tokenizer(self, tokenizer_class, model_name_or_path, **kwargs):
      """The one above."""
      return Tokenizer(config.target_vocab_size)

  Converter(str(folder / 'hf')).convert(str(folder / 'ct2'), quantization='int8')


def save_hugging_face(config, weights, folder):
  """The same weights as a folder of Hugging Face."""
  import torch
  import transformers

  from switch_zoo.checkpoints import format_names

  sizes = {name: getattr(config, name) for name in ('vocab_size', 'd_model', 'd_kv', 'd_ff', 'num_heads')}
  layers = {'num_layers': config.num_encoder_layers, 'num_decoder_layers': config.num_decoder_layers}
  settings = transformers.T5Config(
    **sizes, **layers, feed_forward_proj=config.ff_activation[0], decoder_start_token_id=0
  )
  model = transformers.T5ForConditionalGeneration(settings)
  names, state = format_names.FORMAT_NAMES['hf'](config), dict(model.named_parameters())
  with torch.no_grad():
    for variable, value in weights.items():
      target = state[names.locate(variable).name]
      tensor = torch.tensor(value)
      target.copy_(
        tensor if tensor.shape == target.shape and 'embedding' in variable else tensor.T if tensor.ndim == 2 else tensor
      )
  model.save_pretrained(folder)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--batch', type=int, nargs='+', default=[1, 8, 32])
  parser.add_argument('--runs', type=int, default=5)
  parser.add_argument('--work-dir', required=True, help='folder in which the models are kept')
  parser.add_argument('--only-make', action='store_true')
  arguments = parser.parse_args()
  folder = pathlib.Path(arguments.work_dir)
  if not (folder / 'ct2').exists():
    make(folder)
  if arguments.only_make:
    return
  import ctranslate2

  from switch_zoo.onnx_runner import folder as runner_folder
  from switch_zoo.onnx_runner import searching
  from switch_zoo.onnx_runner.processors import LogitsProcessors
  from switch_zoo.onnx_runner.sessions import Graphs
  from switch_zoo.onnx_runner.settings import AnswerSettings

  version = str(folder / 'onnx' / '1')
  graphs = Graphs(version, runner_folder.read_facts(version), threads=2)
  peer = ctranslate2.Translator(str(folder / 'ct2'), compute_type='int8', intra_threads=2, inter_threads=1)
  names = Tokenizer(graphs.facts.vocab_size).get_vocab()
  settings = AnswerSettings(NEW_TOKENS, processors=LogitsProcessors(min_new_tokens=NEW_TOKENS))
  print('batch   ours s   CTranslate2 s   ratio   same first tokens')
  for batch in arguments.batch:
    ids = np.random.default_rng(0).integers(3, 32000, [batch, INPUTS])
    ids[:, -1] = 1
    tokens = [[f'token{i}' for i in row[:-1]] + ['</s>'] for row in ids]
    ours = lambda ids=ids: searching.answer(graphs, ids, settings).ids[:, 0]
    limits = {'max_decoding_length': NEW_TOKENS, 'min_decoding_length': NEW_TOKENS, 'max_batch_size': batch}
    theirs = lambda tokens=tokens, limits=limits: peer.translate_batch(tokens, beam_size=1, **limits)
    first = [names[result.hypotheses[0][0]] for result in theirs()]
    same = np.mean(ours()[:, 0] == first)
    seconds = {}
    for _ in range(arguments.runs):
      for name, call in (('ours', ours), ('theirs', theirs)):
        start = time.perf_counter()
        call()
        seconds.setdefault(name, []).append(time.perf_counter() - start)
    mine, peers = (statistics.median(seconds[name]) for name in ('ours', 'theirs'))
    print(f'{batch:5d} {mine:8.3f} {peers:15.3f} {peers / mine:7.2f} {same:19.2f}', flush=True)


if __name__ == '__main__':
  main()
