"""The benchmark: every aim, measured on the lab in one run, and the document that is made of it.

`__main__` chooses the parts; each part is a module with `run`, which measures, cleans up, and returns plain JSON;
`bench` keeps that; `report` makes docs/benchmarks.md of it, again at any time without measuring.
"""
