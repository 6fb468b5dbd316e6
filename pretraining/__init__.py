"""Pre-training: a tokenizer, token shards, language models of the paper's shapes, and their export to Hugging Face.

`tokenizer` trains a byte-level BPE on a documents artefact, `tokenize` turns documents into token shards, `train`
trains a TLM on them with exact resume, `export` writes a folder that transformers, vLLM and the evaluation harnesses
load, and `throughput` measures a training config's speed against what the machine's matrix units can do.
"""
