"""How the sample model is made: pictures, tokenizer, model, loss, loop.

Needs the `export` extra (torch, transformers).
"""
