"""IVF-PQ with exact re-rank, flat search, and tuning; knows vectors and row numbers, nothing else.

``storage.open_index`` opens one for serving, ``build.build_index`` makes one.
"""
