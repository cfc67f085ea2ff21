"""Training; captions never import it.

`setup` goes from a configuration to a run, `trainer` runs it over an engine and processes; `fitting` trains everything
smaller: experts/, faces/, emotion/. `plan` says what a run would take, `cards` describes what came out.
"""
