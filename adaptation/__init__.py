"""Adaptation: turn annotated examples into fine-tuning files, fine-tune a small base model into a refiner with
LLaMA-Factory, score every checkpoint (paper, A.2 and A.3) and keep the best one.
"""
