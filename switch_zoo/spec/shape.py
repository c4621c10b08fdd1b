"""ModelShape: the sizes of a model and its layers."""

import dataclasses

from switch_zoo.spec import sublayers, token_ids

# T5's relative positions: a learned bias for each bucket of distances. The last bucket holds all from the maximum on.
RELATIVE_BUCKETS = 32
MAX_RELATIVE_DISTANCE = 128
# Added to the mean square in the RMS norm.
NORM_EPSILON = 1e-6
DROPOUT_RATE = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelShape:
  """An encoder and a decoder of repeated blocks of sublayers, whose kinds are those of `sublayers`."""

  d_model: int
  d_ff: int
  d_kv: int
  num_heads: int
  num_encoder_layers: int
  num_decoder_layers: int
  # The sublayers of one block, in order; the stack repeats the block.
  encoder_block: tuple[str, ...]
  decoder_block: tuple[str, ...]
  # One function: relu. Two: a gated layer, which multiplies their results; GEGLU is gelu and linear.
  ff_activation: tuple[str, ...]
  # Rows of the embeddings, padded to a multiple of 128.
  vocab_size: int
  target_vocab_size: int
  # Whether the logits use the decoder's embedding, and whether encoder and decoder share one embedding.
  tied_embeddings: bool
  shared_embedding: bool
  relative_attention_num_buckets: int
  dropout_rate: float
  activation_dtype: str

  # Ids of the vocabularies where they are fewer than the rows; 0: as many. See `num_ids`.
  unpadded_vocab_size: int = 0
  unpadded_target_vocab_size: int = 0

  # The token that ends an answer.
  end_id: int = token_ids.END

  # 0 in a dense model; the fields below then have no meaning.
  num_experts: int = 0
  expert_d_ff: int = 0
  # What chooses a token's experts (top1, top2, ...), the scopes of its kernels, and how many it chooses.
  router: str = ''
  router_kernels: tuple[str, ...] = ()
  experts_per_token: int = 0
  capacity_factor_train: float = 0.0
  capacity_factor_eval: float = 0.0
  min_expert_capacity: int = 0
  group_size: int = 0
  balance_loss_coef: float = 0.0
  expert_dropout_rate: float = 0.0
  # Tokens of one sequence that an expert has room for where the checkpoint is from, transformers; 0: nothing states it.
  # Mesh-TensorFlow's room is that of the capacity factors, and Keras' is unlimited unless it is asked for this one.
  expert_capacity: int = 0

  @property
  def num_ids(self) -> int:
    """Ids of the inputs' vocabulary; the rows of its embedding from this one on are padding."""
    return self.unpadded_vocab_size or self.vocab_size

  @property
  def num_target_ids(self) -> int:
    """Ids of the targets' vocabulary: what can be predicted. Logits from this one on are masked."""
    return self.unpadded_target_vocab_size or self.target_vocab_size

  @property
  def gated(self) -> bool:
    """True when the feed-forward layers multiply two projections (GEGLU)."""
    return len(self.ff_activation) > 1

  @property
  def encoder_sparse_layers(self) -> tuple[int, ...]:
    """Encoder layers with experts, counted from 0."""
    return sublayers.sparse_layers(self.encoder_block, self.num_encoder_layers)

  @property
  def decoder_sparse_layers(self) -> tuple[int, ...]:
    """Decoder layers with experts, counted from 0."""
    return sublayers.sparse_layers(self.decoder_block, self.num_decoder_layers)

  @property
  def num_encoder_blocks(self) -> int:
    """How often the encoder repeats its block."""
    return self.num_encoder_layers // sublayers.layers_per_block(self.encoder_block)

  @property
  def num_decoder_blocks(self) -> int:
    """How often the decoder repeats its block."""
    return self.num_decoder_layers // sublayers.layers_per_block(self.decoder_block)
