"""The same models as `tf.keras`, with the same weights: fine-tuning on one host, generation, export.

Imports neither mesh_tensorflow nor t5 nor seqio.

  shapes             sizes that are known when the graph is made
  layers             named weights, RMS norm, the dense feed-forward layer
  attention          self-attention, attention over the encoder, relative positions
  sparse             rows to the networks of their experts and back
  sequence_slots     room for a number of tokens of each sequence in an expert, as in transformers
  routing            which experts a token goes to; the balance loss
  experts            the Switch feed-forward layer
  padding_ids        masks the logits of ids that only pad the vocabulary's table
  stacks             sublayers with norm and residual, blocks of them, the encoder and the decoder
  weights_file       `*.weights.h5` with Mesh-TensorFlow's names
  model              SwitchTransformer: the Keras model, for `fit`
  loss               CrossEntropy: the loss for `fit`
  loading            `load`: a model with weights from a folder of any format

  stacked_variables  many small variables as a few
  repeated           layers that are alike as one TensorFlow function
  without_padding    tokens without the padding between them, and their heads
  products           matrices, and products of few rows
  inference_layers   norm, attention and feed-forward for whole sequences and for one token of each
  inference_blocks   those as sublayers and blocks
  inference          Inference: the weights once more, for decoding with caches
  decode_loop        the loop over tokens, caches that grow, log-probabilities
  sampling           greedy answers and samples
  beam_search        beam search
  scoring            log-probabilities of given targets
  generation         `answer` and `score`: what chooses among those
  text               vocabularies as TensorFlow operations
  export_settings    what an export can be set to
  export_readme      the README of an export
  export             text in and text out, as a SavedModel

Each file imports only files above it; `SwitchTransformer` imports the lower half when it is asked for answers.

One step of decoding, which `sampling.sample` and `beam_search.beam_search` repeat in `decode_loop.run` (a beam search
has B x K hypotheses in place of B sequences). `Inference.encode(...).for_steps()` has read the inputs before: Encoded.

B batch  S input tokens  C capacity of a cache in tokens  N heads  D d_kv  M d_model  V vocabulary

  ids <int32>[B]                  the last token of each sequence, 0 in the first step
  position <int32>[]              tokens read before
  caches                          Memory of keys and values <float32>[B, N, C, D], for each block
    |
    |  decode_loop.run            position = C: `inference.grown` makes room for 32 more tokens
    v
  Inference.step
    |  tf.gather(target_embedding [V, M], ids)                                    -> x <float>[B, M]
    |  Inference._position_bias + _mask                                           -> bias <float32>[1, N, 1, C]
    v
  InferenceBlock.read_one         for each block of the decoder, through `Repeated`
    |
    |  SelfAttentionSublayer.read_one
    |    InferenceNorm                                                            [B, M] -> [B, M]
    |    InferenceAttention.remember     k, v of this token into the cache        [B, M] -> [B, N, C, D] at `position`
    |    InferenceAttention.attend_once  softmax(q keys + bias) values, o         [B, M] -> [B, M]
    |    x +
    |  EncDecAttentionSublayer.read_one
    |    InferenceNorm                                                            [B, M] -> [B, M]
    |    InferenceAttention.attend_once  over Encoded.memories [B, N, S, D]       [B, M] -> [B, M]
    |    x +
    |  FeedForwardSublayer.read_one
    |    InferenceNorm                                                            [B, M] -> [B, M]
    |    InferenceFeedForward.few        dense; or TopK.best, `by_expert_few`     [B, M] -> [B, M]
    |    x +
    v
  Inference.to_logits             decoder_norm, then the embedding or a matrix of logits   [B, M] -> <float32>[B, V]
    |
    |  Sampling.draw (or beam_search._extended)                                   [B, V] -> ids <int32>[B]
    |  decode_loop.log_probability                                                scores <float32>[B] +=
    v
  position + 1, ids, caches       again, until every sequence has its end or `max_new_tokens` tokens
"""

from switch_zoo.keras.loading import load
from switch_zoo.keras.loss import CrossEntropy
from switch_zoo.keras.model import SwitchTransformer

__all__ = ['CrossEntropy', 'SwitchTransformer', 'load']
