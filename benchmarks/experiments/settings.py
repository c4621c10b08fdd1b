"""What an experiment is made of: a budget, arms, and the claim that is judged."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Result of a run as `training.py` writes it; of one experiment: arm -> its runs, one per seed.
Run = Mapping[str, Any]
Runs = Mapping[str, Sequence[Run]]

DENSE = """
include 'architectures/t5_encdec.gin'
d_model = {width}
d_ff = {hidden}
d_kv = 16
num_heads = {heads}
num_encoder_layers = 2
num_decoder_layers = 2
vocab_size = 384
activation_dtype = 'float32'
"""
# Experts in every layer; groups of a sequence or two keep the dispatch below the experts themselves.
SWITCH = """
include 'architectures/switch_all_encdec.gin'
num_experts = {experts}
group_size = 256
"""
TOP2 = "include 'architectures/top2.gin'\n"


@dataclasses.dataclass(frozen=True)
class Budget:
  """How long and on what a run is trained.

  steps, warmup: of training, and of them those in which the learning rate rises; then it falls to 0
  batch, inputs, targets: sequences of a step; tokens of the inputs and of the targets of each
  eval_every, eval_examples: steps between two measurements of the held-out loss; sequences of each task in one
  width, hidden, heads: of the models
  task: what is learned
  """

  steps: int = 2000
  warmup: int = 100
  batch: int = 32
  inputs: int = 32
  targets: int = 224
  eval_every: int = 200
  eval_examples: int = 512
  width: int = 32
  hidden: int = 128
  heads: int = 2
  task: str = 'zoo_local_text_span'

  @property
  def tokens(self) -> int:
    """Of inputs and targets of one step; every sequence is full."""
    return self.batch * (self.inputs + self.targets)


# Checks the machinery, not a claim.
MINIATURE = Budget(
  steps=4, warmup=2, batch=4, inputs=32, targets=32, eval_every=2, eval_examples=8, width=8, hidden=16, heads=2
)


@dataclasses.dataclass(frozen=True)
class Arm:
  """One line of an experiment's grid.

  name: of the arm
  model: gin text with the names of the sizes in braces
  experts: of each layer; 0: none
  settings: gin parameters
  hidden_factor: how many times as wide the feed-forward layers are
  one_seed: trained with the first seed only
  steps_factor: share of the budget's steps
  teacher: of a student, trained before it with the same seed
  """

  name: str
  model: str = DENSE
  experts: int = 0
  settings: tuple[str, ...] = ()
  hidden_factor: float = 1
  one_seed: bool = False
  steps_factor: float = 1.0
  teacher: 'Arm | None' = None

  def gin(self, budget: Budget) -> str:
    """The text of the model's gin file."""
    sizes = {'width': budget.width, 'hidden': int(budget.hidden * self.hidden_factor), 'heads': budget.heads}
    return self.model.format(experts=self.experts, **sizes)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """
  claim: a sentence
  arms: the first is the baseline, whose learning rate all arms use
  judge: from the runs of every arm to sentences that say whether the claim came out, with figures
  budget: of every run
  learning_rates: if there are several, they are tried on the baseline for a fifth of the steps
  seeds: of the arms that the claim is about
  draw: writes the picture, from runs, title and path; None: that of the curves
  """

  claim: str
  arms: Sequence[Arm]
  judge: Callable[[Runs], list[str]]
  budget: Budget = Budget()
  # With 0.15 the dense model was better in a run of 400 steps, and got worse after 400 steps in a run of 2,000.
  learning_rates: Sequence[float] = (0.05,)
  seeds: Sequence[int] = (0, 1, 2)
  draw: Callable[[Runs, str, pathlib.Path], None] | None = None


def dense(name: str = 'dense', **fields: Any) -> Arm:
  """A dense model with the work per token of every Switch model here."""
  return Arm(name, DENSE, 0, **fields)


def switch(
  experts: int, name: str | None = None, settings: Sequence[str] = (), init_scale: float = 1.0, **fields: Any
) -> Arm:
  """A Switch Transformer: one expert per token, capacity 1.25 in training and 2.0 in evaluation.

  The paper's initial scale of 0.1 is worse at these sizes: see `init`.
  """
  settings = (*settings, f'expert_init_scale = {init_scale}')
  return Arm(name or f'switch_{experts}', DENSE + SWITCH, experts, settings, **fields)
