"""Table 4 of the Switch paper: a little dropout, and much of it inside experts, when there is little text.

The paper fine-tunes; here the same models are trained for many passes over one language's text, where they learn it by
heart, so that regularization can show.
"""

from benchmarks.experiments import curves
from benchmarks.experiments.settings import Budget, Experiment, Runs, dense, switch

_ARMS = {'none': (0.0, 0.0), 'dropout_0.1': (0.1, 0.1), 'dropout_0.3': (0.3, 0.3), 'experts_0.4': (0.1, 0.4)}


def judge(runs: Runs) -> list[str]:
  """Whether 0.1, and 0.4 in experts, is the best: by the lowest held-out loss of each run."""
  losses = {arm: [curves.lowest(run) for run in runs.get(arm, ())] for arm in _ARMS}
  text = '; '.join(f'{arm} {curves.shown(values)}' for arm, values in losses.items())
  return [curves.extreme(losses, 'experts_0.4', min, f'lowest held-out loss on the way: {text}')]


EXPERIMENT = Experiment(
  claim='With little text, dropout 0.1 and 0.4 inside experts is better than none, 0.1 or 0.3 everywhere',
  arms=(
    dense(),
    *(
      switch(32, name, [f'dropout_rate = {rate}', f'expert_dropout_rate = {experts}'])
      for name, (rate, experts) in _ARMS.items()
    ),
  ),
  judge=judge,
  budget=Budget(task='zoo_local_text_de'),
  seeds=(0,),
)
