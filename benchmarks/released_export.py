"""How long the SavedModel that the released Mesh-TensorFlow and T5 export takes to answer, next to our export.

  python benchmarks/released_export.py --batch 1 8 --out released_export.json

Both are Switch-Base-8 with random weights: random texts of 128 input tokens (bytes), 32 new tokens, two threads. The
cells run one after the other, each in a separate process that has only tensorflow and tensorflow_text. The first two
answers are a warm-up; the median of the others is reported, for the whole call: texts in, encoder, decoder, texts out.

The released model has the stock MoE1D layer and the settings of the script in SWITCH_ZOO_SHARED/peers, with the dtypes
of T5's greedy_decode.gin. It is made by `mesh_tensorflow.transformer.utils.export_model`, which `export_infer` and T5's
MtfModel.export call; of our code it needs only the repairs in `tf_compat`. Settings that differ from the defaults:
- --dtype. MtfModel.export forces float32 (as --dtype float32); the dtypes in gin take effect only with `utils.run`.
- 32 tokens and no end token; otherwise it generates as many tokens as the input has. With random weights it answers
  with padding, 32 times, which takes as long as words do. Our export has the usual end token: it stops early if every
  text has ended.
- Greedy decoding, as ours (MtfModel.export samples by default). Ours also returns scores, the released one does not.
- One export for each batch size, since it is fixed: fewer texts are padded, more are an error. Ours takes any number.
- The checkpoint holds initial values in the default master dtype, bfloat16. Loading converts them to --dtype.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import serving

EXPERTS = 8
VOCAB = 32128  # of both models: the first ids are bytes, the others represent no text
SETTINGS = """
moe.MoE1D.num_experts = {experts}
utils.get_variable_dtype.slice_dtype = '{dtype}'
utils.get_variable_dtype.activation_dtype = '{dtype}'
Bitransformer.decode.beam_size = 1
Bitransformer.decode.temperature = 0.0
Bitransformer.decode.max_decode_length = {tokens}
Unitransformer.sample_autoregressive.stop_at_token = -1
"""
# A server does the same with both, except for the name of a result: the released model has no scores.
PROGRAM = serving.PROGRAM.replace("(inputs=texts)['scores']", "(inputs=texts)['outputs']")


def export_released(dtype, batch, folder):
  """Writes the checkpoint and the export of the released code below the folder, in this process."""
  from switch_zoo import tf_compat

  tf_compat.repair()
  import seqio
  import tensorflow.compat.v1 as tf
  from mesh_tensorflow.transformer import utils

  tf.disable_v2_behavior()
  configure(SETTINGS.format(experts=EXPERTS, dtype=dtype, tokens=serving.NEW_TOKENS))
  import mesh_tensorflow as mtf

  vocabulary = seqio.ByteVocabulary(extra_ids=VOCAB - seqio.ByteVocabulary().vocab_size)
  lengths = {'inputs': serving.INPUTS, 'targets': serving.NEW_TOKENS}
  kind = 'bitransformer'
  estimator = utils.get_estimator(
    model_type=kind,
    vocabulary=vocabulary,
    mesh_shape=mtf.Shape([]),
    layout_rules=mtf.LayoutRules([]),
    model_dir=f'{folder}/model',
    batch_size=batch,
    sequence_length=lengths,
    autostack=True,
    learning_rate_schedule=None,
    keep_checkpoint_max=None,
    save_checkpoints_steps=1,
    optimizer=None,
    predict_fn=None,
    variable_filter=None,
    ensemble_inputs=None,
    use_tpu=None,
    tpu_job_name=None,
    iterations_per_loop=1,
    cluster=None,
  )
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(0)
    tf.train.create_global_step()
    estimator.model_fn({'inputs': tf.ones([batch, serving.INPUTS], tf.int32)}, None, 'infer', estimator.config)
    masters = tf.global_variables()
    session.run(tf.variables_initializer(masters))
    tf.train.Saver(masters).save(session, f'{folder}/model/model.ckpt', global_step=0)
  utils.export_model(estimator, f'{folder}/export', vocabulary, lengths, kind, batch_size=batch)


def configure(settings):
  """Binds gin as the peer's script does, and these settings."""
  import gin
  import pkg_resources
  from t5.models import mesh_transformer

  sys.path.append(str(serving.SHARED / 'peers'))
  from stock_mesh_peer import GIN

  for package in ('t5.models', 'mesh_tensorflow.transformer'):
    gin.add_config_file_search_path(pkg_resources.resource_filename(package, 'gin'))
  gin.parse_config_file('defaults.gin')
  gin.parse_config(GIN + settings, skip_unknown=mesh_transformer.DEPRECATED_GIN_REFERENCES)


def released(dtype, batch, runs):
  """As `serving.ours`, for the released export, which is made first and removed afterwards."""
  with tempfile.TemporaryDirectory() as folder:
    serving.printed([sys.executable, __file__, '--export', folder, '--dtype', dtype, '--batch', batch])
    (export,) = pathlib.Path(folder, 'export').iterdir()
    return serving.answers(PROGRAM, export, 'generate', batch, runs)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--batch', type=int, nargs='+', default=[1, 8])
  parser.add_argument('--dtype', default='bfloat16', choices=serving.HUGGING_FACE_DTYPE, help='of both')
  parser.add_argument('--runs', type=int, default=5)
  parser.add_argument('--out', help='a JSON file for the results')
  parser.add_argument('--export', help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.export:
    export_released(arguments.dtype, *arguments.batch, arguments.export)
    return
  rows = []
  print('batch   released s   ms/token   ours s   ms/token   ratio')
  with tempfile.TemporaryDirectory() as folder:
    serving.make_export(EXPERTS, arguments.dtype, folder)
    for batch in arguments.batch:
      theirs = released(arguments.dtype, batch, arguments.runs)
      mine = serving.ours(folder, 'generate', batch, arguments.runs)
      rows.append({'batch': batch, 'released': theirs, 'ours': mine})
      each, own = theirs['seconds'], mine['seconds']
      print(
        f'{batch:5d} {each:12.3f} {1e3 * each / serving.NEW_TOKENS:10.2f} {own:8.3f} '
        f'{1e3 * own / serving.NEW_TOKENS:10.2f} {each / own:7.2f}',
        flush=True,
      )
  if arguments.out:
    pathlib.Path(arguments.out).write_text(json.dumps({'settings': vars(arguments), 'rows': rows}, indent=2))


if __name__ == '__main__':
  main()
