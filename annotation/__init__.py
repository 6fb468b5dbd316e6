"""Annotation (paper, 2.3 and A.1): seed documents get educational and format scores, kept ones get cleaning programs
chunk by chunk, and both become train and valid sets for the refiners. The annotator is a language model behind an
OpenAI-compatible server, or a rule-based stand-in that is called that wherever it appears."""
