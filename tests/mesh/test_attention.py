"""Switch attention: queries from one set of experts, shared keys and values from another."""

from typing import Any

import mesh_harness
import numpy as np
import pytest
import reference
from mesh_harness import EVAL, Case

from switch_zoo.errors import UserError
from switch_zoo.mesh import attention, exchange
from switch_zoo.mesh.routing import routers

X = np.random.default_rng(0).standard_normal((2, 5, 6)).astype('float32')


def layer(**options: Any) -> attention.SwitchSelfAttention:
  sparse = exchange.Exchange(num_experts=3, router=routers.Top1('argmax'), group_size=10, capacity_factor_eval=3.0)
  return attention.SwitchSelfAttention(sparse, **{'num_heads': 2, 'key_value_size': 4, **options})


def test_equals_attention_by_hand():
  sparse, case = layer(), Case(X, mode=EVAL)
  weights = mesh_harness.random_weights(sparse, case)
  assert {n: w.shape for n, w in weights.items()} == {
    'switch_gating/kernel': (6, 3),
    'q_wo/kernel': (3, 6, 8),
    'k_wo/kernel': (3, 6, 8),
    'o': (8, 6),
  }
  probabilities = reference.softmax(X @ weights['switch_gating/kernel'])
  expert = probabilities.argmax(-1)
  gate = probabilities.max(-1)[..., None]
  q = gate * np.einsum('blm,blmn->bln', X, weights['q_wo/kernel'][expert]) * 4**-0.5
  kv = gate * np.einsum('blm,blmn->bln', X, weights['k_wo/kernel'][expert])
  q, kv = q.reshape(2, 5, 2, 4), kv.reshape(2, 5, 2, 4)
  share = reference.softmax(np.einsum('bqhd,bkhd->bhqk', q, kv))
  expected = np.einsum('bhqk,bkhd->bqhd', share, kv).reshape(2, 5, 8) @ weights['o']
  np.testing.assert_allclose(mesh_harness.run(sparse, case._replace(weights=weights)).output, expected, atol=1e-5)


def test_a_hidden_layer_is_shared_by_queries_and_keys_as_in_the_released_layer():
  weights = mesh_harness.random_weights(layer(hidden_size=12), Case(X))
  assert weights['wi/kernel'].shape == (3, 6, 12)
  assert weights['q_wo/kernel'].shape == weights['k_wo/kernel'].shape == (3, 12, 8)


def test_has_the_variables_of_the_released_experts_attention_which_attends_to_nothing():
  from mesh_tensorflow.transformer import transformer_layers

  stock = transformer_layers.ExpertsSelfAttention(
    num_experts=3,
    group_size=10,
    capacity_factor_eval=3.0,
    switch_policy_eval='argmax',
    hidden_size=12,
    num_heads=2,
    key_value_size=4,
    shared_kv=True,
  )
  case = Case(X, np.ones((2, 5)), mode=EVAL)
  case = case._replace(weights=mesh_harness.random_weights(layer(hidden_size=12), case))
  theirs = mesh_harness.run(stock, case, 'ExpertsSelfAttention')
  ours = mesh_harness.run(layer(hidden_size=12), case)
  assert {n: g.shape for n, g in ours.gradients.items()} == {n: g.shape for n, g in theirs.gradients.items()}
  # The released keys keep the name of the queries' axis, so each token attends to its own key only: a change of the
  # last token never reaches the first one. In our layer it does.
  other = X.copy()
  other[:, -1] += 1
  case = case._replace(x=other)
  np.testing.assert_allclose(
    mesh_harness.run(stock, case, 'ExpertsSelfAttention').output[:, 0], theirs.output[:, 0], atol=1e-6
  )
  assert np.abs(mesh_harness.run(layer(hidden_size=12), case).output[:, 0] - ours.output[:, 0]).max() > 1e-3


def test_tokens_are_routed_once_and_the_loss_is_counted_once():
  result = mesh_harness.run(layer(), Case(X))
  scope = 'encoder/layer/ExpertsSelfAttention'
  assert result.loss == pytest.approx(result.exported[f'{scope}/loss/balance'])


def test_memory_heads_are_refused():
  with pytest.raises(UserError, match='num_memory_heads=1'):
    layer(num_memory_heads=1)
