"""`switch_zoo report`: what a training and its experts did, as one HTML page that needs no network.

In the order of imports:

  training_record   losses, metrics and load of experts of a training, from its metrics.jsonl
  texts             the texts whose tokens are routed, by domain, as ids of inputs and targets
  task_texts        texts of registered tasks
  pieces            what a token is, for people: its text and its kind
  routed            the forward pass: which experts took each token, in every sparse layer
  statistics        load, lift against chance, transitions, agreement: NumPy on what `routed` has
  findings          everything that the page shows and --json prints, as one document
  svg               line charts and heat maps
  style             the page's style sheet and script
  page              the HTML page

Each file imports only files above it.
"""
