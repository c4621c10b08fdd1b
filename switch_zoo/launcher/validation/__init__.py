"""Validation during training: every EVAL_STEPS steps, in the same process, on the weights as they are.

In the order of imports:

  data              the validation split of a mixture: examples, targets, and names of its metrics
  scores            the one number that decides which checkpoint is the best
  best              MODEL_DIR/best, the best checkpoint so far
  checkpoint_model  a model in a graph that is built once, with the weights of one checkpoint after another
  measures          what is measured: metrics of decoded answers, or perplexity
  settings          launcher.validation, and its checks before anything is written
  history           what validations measured so far, and whether a better one can still be expected
  hook              the hook of a training
  owed              the last validation of a training that was killed while it was made

Each file imports only files above it.
"""
