"""`t5_mesh_transformer` and every other run of a model on Mesh-TensorFlow, from flags to the end of training.

In the order of a run:

  flags             the command's flags, parsed without importing TensorFlow
  process_flags     checks the flags of several processes
  tpu_kernels       with --tpu: whether this TensorFlow can use one
  command           from parsed flags to the printed results
  run               a run configured by gin: configures, checks, executes
  model_api         the same for T5's model API (--use_model_api)
  preflight         checks of single settings: task, vocabulary, data, folders, files
  decoding_check    checks the settings of answers to a file
  graph_settings    what decides the graph: model type, vocabularies, batch, layout
  layout_check      builds that graph, and checks that the layout fits it
  latest            which checkpoint a run uses, also where the folder's state file is lost or the newest is damaged
  init_checkpoint   checks that the weights a training starts from can be taken over
  teacher_check     checks that a distillation's teacher fits its student
  disk              room for the checkpoints of a training
  training_lock     one training at a time in a folder
  checkpoint_check  checks that the checkpoint a run uses is one of this model
  literal_folder    a folder whose name is a pattern gets another while it is used
  replacements      the table of everything in released code that a run replaces
  run_state         the state of one run, and the one place that holds the run in progress
  estimators        who makes the Estimators of a run: the released code, or another runtime
  building          building a large graph in less time
  model_function    replacement: the Estimator's model function, with our hooks
  teacher_weights   the weights of a distillation's teacher, and those its student starts from
  seeds             one seed for weights, dropout and router noise
  noise             dropout and router noise from seed and step, so that a resumed run draws the same
  seen_data         what a training read, which it skips when it is resumed
  updates           the order of a training step: a weight changes after everything that reads it
  one_slice         attention, softmax and embeddings in fewer operations, for one processor
  products          products of tensors as products of matrices, for one processor
  gradient_norm     the global norm of the gradients, for summaries
  adafactor         the optimizer in fewer passes over the weights, for one processor
  saving            what training writes into its folder, and when
  summary_hook      TensorBoard's summaries
  metrics_file      the same values as lines of JSON, and what validations measured
  validation        validation during training, and the best checkpoint
  progress          what a training step reports, and the hook that reports it
  evaluation        replacement: evaluations whose results are kept
  answers           replacement: answers and scores written as text
  exports           replacement: exports with checksums
  results           measured metrics, the scores of benchmarks, and their table
  failures          how an error in the run is reported, and its exit code

`switch_zoo/t5_mesh_transformer.py` is the command itself; it imports only `flags`, `process_flags`, `failures` and,
with --tpu, `tpu_kernels` before the gin files have been checked.
"""
