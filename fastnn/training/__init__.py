"""Training: `fit`, `Trainer`, evaluation, callbacks, checkpoints and the recorded plans of a step.

May import everything below it (`data`, `layers`, `losses`, `optim`, `recording`, `metrics`), but not
`studies`, `naive` or `cli`.
"""
