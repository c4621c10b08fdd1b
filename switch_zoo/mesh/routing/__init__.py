"""Which token goes to which expert: routers, and the small pieces they are made of.

Letters, used everywhere in this package, in `dispatch`, `experts` and `attention`, and the Mesh-TensorFlow dimension
each stands for. They are the released names, so released layouts apply:

  O outer_batch      copies of the experts         E experts (expert_unsplit while tokens are cut over the mesh)
  G batch            groups of tokens              C expert_capacity   slots an expert offers to one group
  S group            tokens of one group           H expert_hidden
  M d_model          (d_model_split on the way)    K choices of one token, a Python list

[O, G, S, E] is a shape; <float32> before it is the dtype. "Real" tokens are those that are not padding.

  rows           rows moved by index: what the gather dispatch is made of
  record         what a router is given, and the routing record every router returns
  gates          what the router reads, its logits and probabilities, noise in training
  slots          places in the experts' queues
  losses         balance, z, importance, load: free functions of tensors
  metrics        load, dropped, entropy, mean gate
  router_base    Router: what the layer expects; TokenChoiceRouter: what routers share whose tokens choose experts
  routers        the routers of that kind: Top1, Top2, TopN, NoTokenLeftBehind
  expert_choice  ExpertChoice: experts choose tokens
  noisy_top_k    NoisyTopK: learned noise on the logits

Each file imports only files above it. How many slots an expert has, and how large a group is, is decided in
`switch_zoo.spec.capacity`, in plain integers. Each router also has an entry in `switch_zoo.spec.routers`.
"""
