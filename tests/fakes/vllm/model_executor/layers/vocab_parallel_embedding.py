class ParallelLMHead:
    """No layer of a transformers model is one."""
